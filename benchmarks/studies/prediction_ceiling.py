"""How often can one predicted structure be right, if several structures share a composition?

    python benchmarks/studies/prediction_ceiling.py --dataset perov5 --data-root DATA

No network is asked: the crystals of the data set itself answer. For each test crystal, the known
structures are all crystals of the training, validation and test part with the same atoms per cell.
Rates are shares of the test crystals, by the match rate of the benchmark:

- drawn: a structure drawn from the known ones. This is what a generator reaches that has learned
  the data set whole, its test part too, and draws each structure as often as it occurs.
- most frequent: the known structure that most others match. A tie is broken at random, as the mean
  over its structures.
- drawn from training crystals: likewise, from the training part alone; nothing where it has none.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.benchmark.prediction import formula_of
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.matching import rms_distances
from pyg_crysdiff.evaluation.statistics import mean_estimate

PARTS = ("train", "val", "test")


def main(words: Sequence[str] | None = None) -> None:
    """Print the rates of one data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", default="perov5")
    add("--data-root", type=Path)
    add("--split", default="official", help="official or val-as-train")
    add("--num-samples", type=int, default=1000, help="test crystals, drawn as the benchmark does")
    add("--workers", type=int)
    add("--seed", type=int, default=0)
    add("--json", type=Path)
    args = parser.parse_args(words)
    settings = Settings.resolve(
        args.dataset, out=Path(), data_root=args.data_root, split=args.split,
        num_samples=args.num_samples, seed=args.seed,
    )  # fmt: skip
    parts = {part: settings.load(part).crystals() for part in PARTS}
    chosen = settings.chosen(len(parts["test"]))
    rates = ceilings(parts, chosen, num_workers=args.workers, progress=True)
    found = {"dataset": args.dataset, "split": args.split, "seed": args.seed, "test": len(chosen)}
    for name, values in rates.items():
        estimate = mean_estimate(values, 1000, args.seed, proportion=False)
        found[name] = [estimate.value, estimate.low, estimate.high]
        print(f"{name:28} {estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def ceilings(
    parts: dict[str, list[Crystal]],
    chosen: Sequence[int],
    *,
    num_workers: int | None = None,
    progress: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Return the probability to match each chosen test crystal, (M,), for every way to answer.

    Args:
        parts: Crystals of the parts "train", "val" and "test".
        chosen: Indices of test crystals.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.

    Returns:
        Also "share with one structure", 1 where no other structure of these atoms is known.
    """
    known = [crystal for part in PARTS for crystal in parts[part]]
    from_training = np.arange(len(known)) < len(parts["train"])
    groups: dict[str, list[int]] = defaultdict(list)
    for i, crystal in enumerate(known):
        groups[formula_of(crystal)].append(i)
    first_test = len(known) - len(parts["test"])
    formulas = [formula_of(parts["test"][k]) for k in chosen]
    matches = _matches(known, {f: groups[f] for f in formulas}, num_workers, progress)
    out: dict[str, list[float]] = defaultdict(list)
    for k, formula in zip(chosen, formulas, strict=True):
        members, equal = groups[formula], matches[formula]
        hits = equal[:, members.index(first_test + k)]  # which answer is right
        counts = equal.sum(1)
        training = from_training[members]
        out["drawn"].append(hits.mean())
        out["most frequent"].append(hits[counts == counts.max()].mean())
        out["drawn from training crystals"].append(hits[training].mean() if training.any() else 0)
        out["share with one structure"].append(float(hits.all()))
    return {name: np.array(values) for name, values in out.items()}


def _matches(
    known: Sequence[Crystal],
    groups: dict[str, list[int]],
    num_workers: int | None,
    progress: bool,
) -> dict[str, NDArray[np.bool_]]:
    """Return which crystals of each group match, [answer, truth]."""
    pairs = [(i, j) for group in groups.values() for j in group for i in group]
    distances = rms_distances(
        [known[i] for i, _ in pairs], [known[j] for _, j in pairs],
        num_workers=num_workers, progress=progress,
    )  # fmt: skip
    found, start = {}, 0
    for name, group in groups.items():
        block = distances[start : start + len(group) ** 2].reshape(len(group), len(group))
        found[name] = ~np.isnan(block.T)
        start += len(group) ** 2
    return found


if __name__ == "__main__":
    main()
