"""Quality against the number of denoiser evaluations, for a trained model.

    python benchmarks/studies/few_steps.py carbon24-cds --dataset carbon24 --data-root DATA \
        --split val-as-train --samplers renewing:200:0:focused,renewing:64:0:focused --repeats 3

Every sampler makes the same numbers of crystals from the same seeds, with the training minimum as
target (for the success rates, shares of all crystals) and without condition (for coverage and the
distribution of the property). The first sampler is what the others are held against: a value counts
as kept where it lies within the 95 % bootstrap interval of the first, or beyond its better end.
Samples are kept in --out: an interrupted run goes on.

With --repeats K every sampler runs from K seeds: values are means, and so are the bounds of the
first one's intervals. What is left then is what the steps cost, not which crystals were drawn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch

from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.evaluation.harness import Protocol, evaluate
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.property.judges import find_evaluator
from pyg_crysdiff.sampling import Sampler, sample

mpl.use("Agg")
import matplotlib.pyplot as plt

# Metric, from which samples, and whether more is better.
COMPARED = {
    "struct_valid": ("conditional", True),
    "sr5_all": ("conditional", True),
    "sr10_all": ("conditional", True),
    "sr15_all": ("conditional", True),
    "uniqueness": ("conditional", True),
    "valid": ("free", True),
    "cov_recall": ("free", True),
    "cov_precision": ("free", True),
    "property_emd": ("free", False),
}


def main() -> None:
    """Sample with every sampler, score, print and draw."""
    args = parse()
    torch.set_num_threads(args.threads)
    settings = Settings.resolve(
        args.dataset, out=args.out, data_root=args.data_root, split=args.split
    )
    train, test = settings.load("train"), settings.load("test")
    model = load_checkpoint(args.checkpoint)
    evaluator = find_evaluator(args.evaluator, train)
    args.out.mkdir(parents=True, exist_ok=True)
    protocol = {
        "reference": test.crystals(),
        "train": train.crystals(),
        "evaluator": evaluator,
        "thresholds": train.success_thresholds,
        "cache_dir": args.out / "cache",
        "progress": False,
    }
    rows: list[dict[str, Any]] = []
    for text in args.samplers.split(","):
        seeds = range(args.seed, args.seed + args.repeats)
        rows.append(measure(text, seeds, model, settings, test.coverage_cutoffs, protocol, args))
        show(rows[-1], rows[0])
        text_out = json.dumps({"command": vars(args), "rows": rows}, indent=2, default=str)
        (args.out / "few_steps.json").write_text(text_out + "\n", encoding="utf-8")
        (args.out / "few_steps.md").write_text(table(rows), encoding="utf-8")
    draw(rows, args.out / "few_steps.png")


def measure(
    text: str,
    seeds: Sequence[int],
    model: Any,
    settings: Settings,
    cutoffs: Any,
    protocol: dict[str, Any],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Sample with one sampler from all seeds, and score: means of values and of their bounds."""
    sampler = sampler_of(text)
    row: dict[str, Any] = {
        "sampler": text,
        "kind": kind_of(sampler),
        "evaluations": sampler.calls(model.model.num_steps),
    }
    for kind, target in (("conditional", "min"), ("free", None)):
        sizes = settings.num_atoms if target else "distribution"
        task = {"task": "optimisation", "target": min_target(model)} if target else {}
        if not target:  # COMPARED asks the free samples for no uniqueness, which is slow
            task = {"cutoffs": cutoffs, "uniqueness": False}
        seconds, found = 0.0, []
        for seed in seeds:
            again = f"-{seed}" * (seed != args.seed)
            folder = args.out / f"{text.replace(':', '-')}-{kind}{again}"
            start = time.perf_counter()
            crystals = sample(
                model, args.num_samples, target=target, num_atoms=sizes, out=folder,
                seed=seed, sampler=sampler, guidance=args.guidance, progress=True,
            )  # fmt: skip
            seconds += kept_seconds(folder, time.perf_counter() - start)
            found.append(evaluate(crystals, Protocol(**protocol, **task)).metrics)
        row[f"{kind}_per_second"] = args.num_samples * len(seeds) / seconds
        for key, (source, _) in COMPARED.items():
            if source == kind and key in found[0]:
                values = [one[key] for one in found]
                row[key] = [
                    statistics.fmean(getattr(value, part) for value in values)
                    for part in ("value", "low", "high")
                ]
                row[f"{key}_by_seed"] = [value.value for value in values]
    return row


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("checkpoint", type=Path)
    add("--dataset", required=True)
    add("--data-root", type=Path)
    add("--split", default="official")
    add("--evaluator", default="cdvae", help="cdvae, or a file of an evaluator")
    add("--num-samples", type=int, default=300)
    add("--guidance", type=float, default=1.0)
    add("--seed", type=int, default=0)
    add("--repeats", type=int, default=1, help="seeds of every sampler")
    add("--threads", type=int, default=1)
    add(
        "--samplers",
        default="ancestral:1000:1,renewing:400:0:focused,renewing:150:0:focused,"
        "renewing:100:0:focused,renewing:50:0:focused,renewing:150:0,flow:150:0,ancestral:150:0",
        help="SOLVER:STEPS:CORRECTOR_MOVES[:SPACING[:TEMPERATURE]], the first to compare with",
    )
    add("--out", type=Path, default=Path("runs/few_steps"))
    return parser.parse_args()


def sampler_of(text: str) -> Sampler:
    """Read SOLVER:STEPS:CORRECTOR_MOVES[:SPACING[:TEMPERATURE]]."""
    solver, steps, moves, *rest = text.split(":")
    spacing, temperature = [*rest, *("uniform", "1")[len(rest) :]]
    return Sampler(solver, int(steps), spacing, int(moves), temperature=float(temperature))


def kind_of(sampler: Sampler) -> str:
    """Name what two samplers of different numbers of steps have in common."""
    parts = [sampler.solver]
    if sampler.spacing != "uniform":
        parts.append(sampler.spacing)
    if sampler.corrector_steps:
        parts.append("corrector")
    if sampler.temperature != 1:
        parts.append(f"temperature {sampler.temperature:g}")
    return ", ".join(parts)


def min_target(model: Any) -> float:
    """The training minimum of the model's property."""
    (found,) = model.model.statistics.properties.values()
    return float(found.minimum)


def kept_seconds(folder: Path, seconds: float) -> float:
    """Return the time of the run that made the samples; a later one only reads them."""
    path = folder / "seconds.json"
    if path.is_file():
        return float(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(seconds), encoding="utf-8")
    return seconds


def kept(row: dict[str, Any], first: dict[str, Any], key: str) -> bool:
    """Whether a value is within the interval of the first sampler's, or better."""
    value, (_, low, high) = row[key][0], first[key]
    return bool(value >= low if COMPARED[key][1] else value <= high)


def show(row: dict[str, Any], first: dict[str, Any]) -> None:
    """Print a row; values outside the first row's interval carry a minus."""
    parts = [f"{row['sampler']:<20}{row['evaluations']:5d} evaluations"]
    parts += [f"{row['conditional_per_second']:7.2f}/s"]
    for key in COMPARED:
        if key in row:
            interval = "" if row is not first else f" ({row[key][1]:.3f}-{row[key][2]:.3f})"
            parts.append(
                f"{key} {row[key][0]:.3f}{interval}{'' if kept(row, first, key) else ' -'}"
            )
    print("  ".join(parts), flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown: the first with its interval, bold what lies outside of it."""
    keys = [key for key in COMPARED if key in rows[0]]
    lines = [f"| | calls | {' | '.join(keys)} |", "|---" * (len(keys) + 2) + "|"]
    for row in rows:
        cells = [f"{row[key][0]:.3f}".removeprefix("0") for key in keys]
        if row is rows[0]:
            ends = [[f"{row[key][i]:.3f}".removeprefix("0") for i in (1, 2)] for key in keys]
            cells = [f"{cell} ({'-'.join(end)})" for cell, end in zip(cells, ends, strict=True)]
        else:
            cells = [
                cell if kept(row, rows[0], key) else f"**{cell}**"
                for cell, key in zip(cells, keys, strict=True)
            ]
        lines.append(f"| {row['kind']} | {row['evaluations']:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw every metric against the number of evaluations, by solver."""
    keys = [key for key in COMPARED if key in rows[0]]
    figure, axes = plt.subplots(3, 3, figsize=(12, 9), constrained_layout=True)
    for axis, key in zip(axes.flat, keys, strict=False):
        first = rows[0][key]
        axis.axhspan(first[1], first[2], color="0.9")
        axis.axhline(first[0], color="0.6", lw=1, label=rows[0]["sampler"])
        for solver in dict.fromkeys(row["kind"] for row in rows[1:]):
            own = [r for r in rows[1:] if r["kind"] == solver]
            own.sort(key=lambda r: r["evaluations"])
            values = [r[key][0] for r in own]
            axis.plot([r["evaluations"] for r in own], values, "o-", ms=4, label=solver)
        axis.set(xscale="log", xlabel="denoiser evaluations", title=key)
        counts = sorted({r["evaluations"] for r in rows[1:]})
        axis.set_xticks(counts, [str(n) for n in counts])
        axis.minorticks_off()
    axes.flat[0].legend(fontsize=8)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
