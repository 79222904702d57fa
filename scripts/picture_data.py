"""Make what scripts/make_pictures.py draws out of the folders of finished runs.

    crysdiff sample --checkpoint perov5-cds -n 12 --target min:5 --seed 0 --out S/perov5
    ...                                   (all commands: benchmarks/results/pictures/crystals.json)
    python scripts/picture_data.py crystals perov5=S/perov5 carbon24=S/carbon24 mp20=S/mp20
    python scripts/picture_data.py requests perov5=RUN     # of crysdiff benchmark --task requests

The results go to benchmarks/results/pictures/.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
from ase.io import iread

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.results import Results
from pyg_crysdiff.evaluation.uniqueness import first_occurrences
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.sampling.symmetrise import symmetrised

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "pictures"
PER_SET = 4
SYMPREC = 0.1  # Angstrom
_NUMBERS = re.compile(r"\[[-\d.,\s]+\]")


def keep_crystals(name: str, samples: Path) -> list[Crystal]:
    """Return the first valid and different crystals of a sample, moved to their space groups."""
    drawn = [
        Crystal(atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers, atoms.info)
        for atoms in iread(samples / "samples.extxyz")
    ]
    valid = [
        c for c in drawn
        if structural_problem(c) is None and smact_validity(c.atomic_numbers)
    ]  # fmt: skip
    first = first_occurrences(valid, num_workers=1)
    kept = [c for c, new in zip(valid, first, strict=True) if new][:PER_SET]
    if len(kept) < PER_SET:
        raise ValueError(f"{samples} holds only {len(kept)} valid and different crystals")
    out = []
    for crystal in kept:
        crystal.info["data_set"] = name
        out.append(symmetrised(crystal, SYMPREC))
    return out


def keep_requests(run: Path, command: str) -> dict[str, Any]:
    """Return what one requests run asked for, and what the judge found, crystal by crystal."""
    results = Results.load(run / "results.json")
    points = []
    for row in results.rows:
        if row.method.startswith("training set"):
            continue
        table = pd.read_csv(run / "tables" / f"{row.method.replace(', ', '-')}.csv")
        values = table.loc[table["valid"], "predicted"].round(4)
        points.append(
            {
                "guidance": row.details["guidance"],
                "percentile": row.details["percentile"],
                "requested": round(row.details["target"], 4),
                "num_samples": row.details["num_samples"],
                "mean_distance": round(row.metrics["target_mae"].value, 4),
                "uniqueness": round(row.metrics["uniqueness"].value, 4),
                "achieved": values.tolist(),
            }
        )
    training = {
        str(row.details["percentile"]): round(row.details["target"], 4)
        for row in results.rows
        if row.method.startswith("training set")
    }
    judge = results.settings["evaluator"]
    names = ("solver", "steps", "spacing", "corrector_steps", "renewal", "num_atoms")
    return {
        "command": command,
        "dataset": results.dataset, "split": results.split, "seed": results.seed,
        "property": results.settings["property"],
        "checkpoint": results.rows[-1].details["checkpoint"],
        "sampler": {key: results.settings[key] for key in names},
        "judge": {key: judge[key] for key in ("dataset", "split", "num_crystals", "held_out_mae")},
        "version": results.settings["version"], "torch": results.settings["torch"],
        "training_percentiles": training, "requests": points,
    }  # fmt: skip


def write_json(name: str, value: Any) -> None:
    """Write one file of results, lists of numbers on one line."""
    text = json.dumps(value, indent=1)
    path = FOLDER / f"{name}.json"
    path.write_text(_NUMBERS.sub(lambda m: " ".join(m[0].split()), text) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("crystals", "requests"))
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--command", default="", help="what made the runs, kept with the numbers")
    given = parser.parse_args()
    runs = {name: Path(folder) for name, _, folder in (run.partition("=") for run in given.runs)}
    if given.what == "crystals":
        crystals = [c for name, folder in runs.items() for c in keep_crystals(name, folder)]
        write_extxyz(crystals, FOLDER / "crystals.extxyz")
        return
    for name, folder in runs.items():
        write_json(f"requests_{name}", keep_requests(folder, given.command))


if __name__ == "__main__":
    main()
