"""Quality against the size of the training set, everything else equal.

    python benchmarks/studies/learning_curve.py --dataset perov5 --data-root DATA \
        --split val-as-train --model cds --fractions 0.25,0.5,1 --budget 12 --evaluator FILE

One model per share of the training set (smaller shares are parts of larger ones), each with the
same training time, sampled with the data set's settings of configs/benchmark.yaml and judged by the
same evaluator against the limits of the whole training set. Novelty counts against the whole
training set too. An interrupted run goes on from --out.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl

from pyg_crysdiff.benchmark.asks import asks
from pyg_crysdiff.benchmark.sampling import draw
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.evaluation.harness import Protocol, evaluate
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.property.cdvae import load_evaluator
from pyg_crysdiff.training import train as fit_model

mpl.use("Agg")
import matplotlib.pyplot as plt

CONDITIONAL = ("sr5_strict", "sr10_strict", "sr15_strict", "uniqueness", "novelty")
FREE = ("valid", "cov_recall", "cov_precision", "property_emd")


def main() -> None:
    """Train, sample and judge a model for every share, then print and draw."""
    args = parse()
    settings = Settings.resolve(
        args.dataset, out=args.out, data_root=args.data_root, split=args.split,
        budget_minutes=args.budget, num_samples=args.num_samples, seed=args.seed,
        request=args.request, guidance=args.guidance,
    )  # fmt: skip
    data = Splits(settings)
    train, test = data.train, data.test
    evaluator = load_evaluator(args.evaluator)
    name = train.property_name
    assert name is not None
    target = min(float(c.info[name]) for c in with_value(train.crystals(), name))
    protocol = {
        "reference": test.crystals(), "train": train.crystals(), "evaluator": evaluator,
        "thresholds": train.success_thresholds, "cutoffs": test.coverage_cutoffs,
        "cache_dir": args.out / "cache", "progress": False,
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for fraction in sorted(args.fractions):
        part = replace(settings, out=args.out / f"{fraction:g}")
        config = {**settings.training_config(args.model), "train_fraction": fraction}
        fitted = fit_model(config, part.out / "model", data=(train, data.val))
        model = load_checkpoint(fitted.checkpoint)
        row: dict[str, Any] = {
            "fraction": fraction, "crystals": model.card["num_train"], "epochs": fitted.epochs,
        }  # fmt: skip
        first = asks(part, name, target, model.model.presets)[0]
        for kind, asked, keys in (
            ("conditional", first.target, CONDITIONAL),
            ("free", None, FREE),
        ):
            crystals, _ = draw(part, kind, model, asked, progress=True)
            # The free samples are asked for no uniqueness, which is slow.
            task = {"task": "optimisation", "target": target} if asked else {"uniqueness": False}
            found = evaluate(crystals, Protocol(**protocol, **task)).metrics
            row |= {k: [found[k].value, found[k].low, found[k].high] for k in keys if k in found}
        rows.append(row)
        print("  ".join(f"{k} {_text(v)}" for k, v in row.items()), flush=True)
        text = json.dumps({"command": vars(args), "rows": rows}, indent=2, default=str)
        (args.out / "learning_curve.json").write_text(text + "\n", encoding="utf-8")
    plot(rows, args.out / "learning_curve.png")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", required=True)
    add("--data-root", type=Path)
    add("--split", help="official or val-as-train")
    add("--model", default="cds", help="conditioner, as --models of crysdiff benchmark")
    add("--fractions", type=_fractions, default=(0.25, 0.5, 1.0), help="comma-separated")
    add("--budget", type=float, metavar="MINUTES", help="training time per share")
    add("--request", help="min, min:5, ... (default: the first of the data set's)")
    add("--guidance", type=float, help="scale of classifier-free guidance")
    add("--evaluator", required=True, help="property model that judges")
    add("--num-samples", type=int, default=500)
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs/learning_curve"))
    return parser.parse_args()


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the rates against the number of training crystals."""
    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    sizes = [row["crystals"] for row in rows]
    labels = {
        "sr5_strict": "SR5", "sr10_strict": "SR10", "sr15_strict": "SR15",
        "uniqueness": "uniqueness", "novelty": "novelty", "cov_recall": "COV-R",
    }  # fmt: skip
    for key, label in labels.items():
        if all(key in row for row in rows):
            values, low, high = zip(*(row[key] for row in rows), strict=True)
            (line,) = axes.plot(sizes, values, "o-", label=label)
            axes.fill_between(sizes, low, high, color=line.get_color(), alpha=0.15, lw=0)
    axes.set(xscale="log", xlabel="training crystals", ylabel="share", ylim=(0, 1.02))
    axes.set_xticks(sizes, [str(s) for s in sizes])
    axes.minorticks_off()
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def _fractions(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _text(value: Any) -> str:
    return (
        f"{value[0]:.3f} ({value[1]:.3f}-{value[2]:.3f})" if isinstance(value, list) else str(value)
    )


if __name__ == "__main__":
    main()
