"""Design under constraints: sample a chemical system, and keep what a predictor likes best.

    python examples/constrained_design.py

Every crystal has exactly the elements asked for and a composition that is charge neutral under
SMACT. The checkpoint and the predictor come with the package; no network is needed.
"""

import argparse
from pathlib import Path

from pyg_crysdiff import sample, select
from pyg_crysdiff.data.writers import crystal_to_cif
from pyg_crysdiff.property.cdvae import load_evaluator
from pyg_crysdiff.sampling import Control


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", default="Mg-Ti-O", help="all of these elements, no other")
    parser.add_argument("--candidates", type=int, default=24)
    parser.add_argument("--keep", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("designed"))
    given = parser.parse_args()

    control = Control(chemical_system=given.system, charge_neutral=True)
    low = {"formation_energy_per_atom": (-3.5, -2.5)}  # eV/atom; each crystal gets its own value
    candidates = sample(
        "mp20-cdi", given.candidates, target=low, control=control, num_atoms=(4, 12), seed=0
    )

    # Valid and different ones, in the order of their distance to the wanted energy.
    predictor = load_evaluator("mp20-predictor")
    best = select(candidates, given.keep, predictor, target=-3.5)
    energies = predictor.predict(candidates)
    given.out.mkdir(parents=True, exist_ok=True)
    print(f"{given.candidates} candidates in {given.system}, the best {len(best)}:")
    for rank, index in enumerate(best):
        crystal = candidates[index]
        formula = crystal.to_structure().composition.reduced_formula
        path = given.out / f"{rank}-{formula}.cif"
        path.write_text(crystal_to_cif(crystal), encoding="utf-8")
        print(f"{formula:>12}  predicted {energies[index]:6.2f} eV/atom  {path}")


if __name__ == "__main__":
    main()
