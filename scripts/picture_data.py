"""Make what scripts/make_pictures.py draws out of the folders of finished runs.

    crysdiff sample --checkpoint perov5-cds -n 12 --target min:5 --seed 0 --out S/perov5
    ...                                   (all commands: benchmarks/results/pictures/crystals.json)
    python scripts/picture_data.py crystals perov5=S/perov5 carbon24=S/carbon24 mp20=S/mp20
    python scripts/picture_data.py requests perov5=RUN:cds # of crysdiff benchmark --task requests
    python scripts/picture_data.py few_steps perov5=OUT carbon24=OUT mp20=OUT  # of few_steps.py
    python scripts/picture_data.py representations --data-root DATA perov5:joint=S ...
                                            # NAME:METHOD=samples without a condition, several

The results go to benchmarks/results/pictures/.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase.io import iread

from pyg_crysdiff.benchmark.representations import Plane, chosen_valid
from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.readers import read_crystals
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.results import Results
from pyg_crysdiff.evaluation.uniqueness import first_occurrences
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.sampling.symmetrise import symmetrised

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "pictures"
PER_SET = 4
POINTS = 300
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


def keep_requests(run: Path, model: str, command: str) -> dict[str, Any]:
    """Return what one model of a requests run was asked for, and what the judge found.

    Args:
        run: Output folder.
        model: Name of the model in the run.
        command: What made the run.
    """
    results = Results.load(run / "results.json")
    points = []
    for row in results.rows:
        if not row.method.startswith(f"{model}, "):
            continue
        checkpoint = row.details["checkpoint"]
        table = pd.read_csv(run / "tables" / f"{row.method.replace(', ', '-')}.csv")
        values = table["predicted"].dropna().round(4)
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
        "model": model, "checkpoint": checkpoint,
        "sampler": {key: results.settings[key] for key in names},
        "judge": {key: judge[key] for key in ("name", "source", "trained_on", "test_mae")},
        "version": results.settings["version"], "torch": results.settings["torch"],
        "training_percentiles": training, "requests": points,
    }  # fmt: skip


def keep_few_steps(runs: dict[str, Path], command: str) -> dict[str, Any]:
    """Return the rows of several runs of benchmarks/studies/few_steps.py, one per data set."""
    commands, rows = [], []
    for name, folder in runs.items():
        found = json.loads((folder / "few_steps.json").read_text(encoding="utf-8"))
        asked = found["command"]
        commands.append(
            f"python benchmarks/studies/few_steps.py {asked['checkpoint']} --dataset {name} "
            f"--data-root DATA --split {asked['split']} --num-samples {asked['num_samples']} "
            f"--repeats {asked['repeats']} --samplers {asked['samplers']}"
        )
        for row in found["rows"]:
            metrics = {
                key: {**dict(zip(("value", "low", "high"), values, strict=True)),
                      "seeds": row[f"{key}_by_seed"]}
                for key, values in row.items() if f"{key}_by_seed" in row
            }  # fmt: skip
            rows.append(
                {"dataset": name, "sampler": row["kind"], "calls": row["evaluations"], **metrics}
            )
    return {
        "what": "Quality of the shipped models by number of network calls for one crystal.",
        "commands": [*commands, *([command] if command else [])],
        "conditions": "The training minimum as target (sr*_all, struct_valid, uniqueness), and no "
        "condition (valid, cov_recall, cov_precision, property_emd); values and the bounds of 95 % "
        "intervals are means over the seeds.",
        "judge": "CDVAE's evaluators",
        "rows": rows,
    }


def keep_representations(
    runs: dict[str, Path], data_root: Path | None, command: str
) -> dict[str, Any]:
    """Return where test crystals and samples lie in the plane of the former, set by set.

    Args:
        runs: ``NAME:METHOD`` to the samples of that method.
        data_root: Folder with the files of the sets.
        command: What made the samples.
    """
    rng, sets = np.random.default_rng(0), {}
    for name in dict.fromkeys(key.partition(":")[0] for key in runs):
        test = chosen_valid(
            load_dataset(name, "test", source=data_root, scheme="val-as-train").crystals(),
            POINTS, rng,
        )  # fmt: skip
        own = {
            key.partition(":")[2]: chosen_valid(read_crystals(folder), POINTS, rng)
            for key, folder in runs.items()
            if key.partition(":")[0] == name
        }
        plane = Plane.of(test, [c for crystals in own.values() for c in crystals])
        points = {method: plane.points(crystals) for method, crystals in own.items()}
        sets[name] = {
            "share": [round(part, 3) for part in plane.share],
            "test": plane.points(test).round(2).tolist(),
            "methods": {method: found.round(2).tolist() for method, found in points.items()},
        }
    return {
        "what": "Test crystals and samples without a condition in the plane of the first two "
        "principal components of the test crystals' representations (descriptor compact); of each "
        f"at most {POINTS} structurally valid crystals, drawn at random.",
        "source": "arXiv 2408.07213, fig. 5",
        "commands": [command],
        "conditions": "No condition was given; nobody judged the crystals.",
        "sets": sets,
    }


def write_json(name: str, value: Any) -> None:
    """Write one file of results, lists of numbers on one line."""
    text = json.dumps(value, indent=1)
    path = FOLDER / f"{name}.json"
    path.write_text(_NUMBERS.sub(lambda m: " ".join(m[0].split()), text) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("crystals", "requests", "few_steps", "representations"))
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER[:MODEL]")
    parser.add_argument("--data-root", type=Path, help="representations: files of the sets")
    parser.add_argument("--command", default="", help="what made the runs, kept with the numbers")
    given = parser.parse_args()
    named = {name: folder for name, _, folder in (run.partition("=") for run in given.runs)}
    runs = {name: Path(folder) for name, folder in named.items()}
    if given.what == "crystals":
        crystals = [c for name, folder in runs.items() for c in keep_crystals(name, folder)]
        write_extxyz(crystals, FOLDER / "crystals.extxyz")
        return
    if given.what == "few_steps":
        write_json("few_steps", keep_few_steps(runs, given.command))
        return
    if given.what == "representations":
        found = keep_representations(runs, given.data_root, given.command)
        write_json("representations", found)
        return
    for name, place in named.items():
        folder, _, model = place.partition(":")
        write_json(f"requests_{name}", keep_requests(Path(folder), model, given.command))


if __name__ == "__main__":
    main()
