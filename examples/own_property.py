"""Train on crystals in memory with a property of your own, and ask for a value of it.

    python examples/own_property.py        # under a minute on two cores; --epochs 60 is better

The property here is the mass density, because it can be computed for the generated crystals as
well: nobody has to judge them. Put your own numbers in its place.
"""

import argparse
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from pyg_crysdiff import CrystalDataset, fit, load_dataset, sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=None, help="default: a new temporary folder")
    given = parser.parse_args()
    out = given.out or Path(mkdtemp(prefix="own-property-"))

    # Any list of pymatgen Structures or ASE Atoms, or of the package's own Crystals, will do.
    structures = [crystal.to_structure() for crystal in load_dataset("demo", "train").crystals()]
    density = [float(structure.density) for structure in structures]  # g/cm^3
    train, val = (
        CrystalDataset.from_crystals(
            [structures[k] for k in rows], {"density": [density[k] for k in rows]}
        )
        for rows in ([k for k in range(len(density)) if k % 10], range(0, len(density), 10))
    )

    small = ["denoiser.dim=64", "denoiser.num_blocks=4", "denoiser.pair_hidden=32"]
    quick = ["batch_size=32", "optimizer.lr=3e-3", "optimizer.ema_decay=0.99"]
    run = fit(
        ["conditioner=cds", *small, *quick, f"max_epochs={given.epochs}"],
        out,
        data=(train, val),
        progress=False,
    )
    print(f"{run.epochs} epochs in {run.seconds:.0f} s: {run.checkpoint}")

    print(f"training set: density {np.mean(density):.1f} +- {np.std(density):.1f} g/cm^3")
    for wanted in np.quantile(density, [0.1, 0.5, 0.9]):
        crystals = sample(
            run.checkpoint, 16, target={"density": wanted}, guidance=2.0, progress=False
        )
        found = [c.to_structure().density for c in crystals if c.is_finite and c.volume > 1]
        print(f"requested {wanted:.1f}: {np.mean(found):.1f} +- {np.std(found):.1f} g/cm^3")


if __name__ == "__main__":
    main()
