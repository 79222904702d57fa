"""Spend a budget of evaluations in rounds: draw, filter, choose, evaluate, learn.

    python examples/design_loop.py        # under a minute on two cores

The oracle is a function. Here it computes the mass density, and fails for some crystals as real
calculations do. Put your own in its place.
"""

import argparse
from pathlib import Path
from tempfile import mkdtemp

from pymatgen.core import Structure

from pyg_crysdiff import load_dataset
from pyg_crysdiff.design import DesignSettings, design, find_oracle, read_objectives
from pyg_crysdiff.diffusion import Sampler


def evaluate(structures: list[Structure]) -> list[dict[str, float]]:
    """Return what is wanted of each structure; an exception is a failed evaluation."""
    if any("Bi" in structure.symbol_set for structure in structures):
        raise RuntimeError("bismuth did not converge")
    return [{"density": float(structure.density)} for structure in structures]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="density=8:10", help="g/cm^3")
    parser.add_argument("--budget", type=int, default=20)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--out", type=Path, default=None, help="default: a new temporary folder")
    given = parser.parse_args()
    out = given.out or Path(mkdtemp(prefix="design-"))

    # What is known so far: it trains the predictor, and no candidate may be one of these.
    for crystal in (known := load_dataset("demo", "train").crystals()[:200]):
        crystal.info["density"] = float(crystal.to_structure().density)

    result = design(
        "perov5-cds",
        read_objectives([given.target]),
        find_oracle(evaluate, ["density"]),
        given.budget,
        out,
        data=known,
        settings=DesignSettings(
            batch=given.batch, draws=given.draws, sampler=Sampler(steps=50), workers=1
        ),
        say=print,
    )
    for crystal in result.hits:
        formula = crystal.to_structure().composition.reduced_formula
        print(f"{formula:>12}  {crystal.info['density']:.2f} g/cm^3")
    print(f"{len(result.hits)} hits in {len(result.evaluated)} evaluations: {out}/report.html")


if __name__ == "__main__":
    main()
