"""Score somebody's samples: read a file of any model, and compare it with known crystals.

    python examples/score_samples.py                            # a file that it makes itself
    python examples/score_samples.py theirs.pt --known mp20     # CDVAE, DiffCSP, MatterGen, CIF ...

The reference is the test split, novelty is counted against the training split. `demo` comes with
the package; perov5, carbon24 and mp20 are downloaded from the repository of CDVAE at first use.
"""

import argparse
from pathlib import Path
from tempfile import mkdtemp

from pyg_crysdiff import evaluate, load_dataset, sample
from pyg_crysdiff.data import read_crystals
from pyg_crysdiff.data.writers import write_extxyz

SHOWN = ("struct_valid", "comp_valid", "valid", "density_emd", "uniqueness", "novelty")


def somebodys_file() -> Path:
    """Make a sample file, as another model would leave it."""
    path = Path(mkdtemp(prefix="score-samples-")) / "theirs.extxyz"
    write_extxyz(sample("perov5-cds", 40, target=None, seed=0, progress=False), path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", nargs="?", type=Path, help="file, archive or folder")
    parser.add_argument("--known", default="demo", help="data set to compare with")
    given = parser.parse_args()

    # Entries that cannot be read keep their place, and count as invalid.
    entries = read_crystals(given.samples or somebodys_file())
    reference = load_dataset(given.known, "test").crystals()
    train = load_dataset(given.known, "train").crystals()
    scores = evaluate(entries, reference=reference, train=train, progress=False)

    print(f"{len(entries)} entries, compared with {given.known}")
    for name in SHOWN:
        found = scores.metrics[name]
        print(f"{name:>14}  {found.value:.3f}  ({found.low:.3f} to {found.high:.3f})")
    wrong = scores.table.loc[~scores.table["valid"], ["formula", "reason"]]
    print(wrong.to_string() if len(wrong) else "all are valid")
    print("What the last one means:", scores.definitions[SHOWN[-1]])


if __name__ == "__main__":
    main()
