"""Quality against the length of the training: metrics and losses over crystals seen.

    crysdiff train data=perov5 conditioner=cds budget_minutes=180 keep_every=50 --out RUN
    python benchmarks/studies/training_curve.py RUN --dataset perov5 --data-root DATA --out curve

Takes the checkpoints that a run has kept (keep_every) and its last one, or checkpoint files. Each
makes the same number of crystals from the same seed: with the training minimum of the property
requested, and without a condition. The requests carry no constraint, and guidance is 1 unless
--guidance says otherwise; steps and sizes are those of the data set in configs/benchmark.yaml.
`curve/training_curve.json` has all values, `training_curve.png` the picture. A run that is still
trained may be given: what was judged before is not judged again.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl

from pyg_crysdiff.benchmark.evaluators import property_model
from pyg_crysdiff.benchmark.sampling import draw
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol, evaluate
from pyg_crysdiff.evaluation.statistics import mean_estimate
from pyg_crysdiff.models import LoadedModel, load_checkpoint
from pyg_crysdiff.storage import digest_of, kept, read_keyed, whole_lines, write_json

mpl.use("Agg")
import matplotlib.pyplot as plt

CONDITIONAL = ("sr5_all", "sr10_all", "sr15_all", "sr5_strict", "valid", "p1_share", "uniqueness")
FREE = ("valid", "p1_share", "num_elements_emd", "density_emd")
_FILES = "checkpoints"  # name of the curve of files that are given one by one


@dataclass(frozen=True)
class Point:
    """A checkpoint on a curve.

    Attributes:
        curve: Name of the run.
        path: The checkpoint.
    """

    curve: str
    path: Path


def main(words: Sequence[str] | None = None) -> None:
    """Sample and judge every checkpoint, then draw."""
    args = parse(words)
    sampler = None
    if args.sampler or args.steps:
        sampler = Sampler.of(args.sampler, steps=args.steps)
    settings = Settings.resolve(
        args.dataset, out=args.out, data_root=args.data_root, split=args.split,
        num_samples=args.num_samples, seed=args.seed, guidance=args.guidance,
        evaluator=args.evaluator, sampler=sampler,
    )  # fmt: skip
    settings = replace(settings, charge_neutral=False, num_elements=None, symmetrise=0.0)
    judge = Judge(settings)
    rows = []
    for point in points(args.checkpoints):
        rows.append(judge.row(point))
        print("  ".join(f"{k} {_text(v)}" for k, v in rows[-1].items()), flush=True)
        result = {
            "command": {key: str(value) for key, value in vars(args).items()},
            "evaluator": judge.evaluator.card,
            "rows": sorted(rows, key=lambda row: (row["run"], row["crystals_seen"])),
            "losses": {path.name: losses(path) for path in args.checkpoints if path.is_dir()},
        }
        write_json(args.out / "training_curve.json", json.loads(json.dumps(result, default=str)))
        plot(result["rows"], result["losses"], args.out / "training_curve.png")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkpoints", nargs="+", type=Path, metavar="PATH", help="run folders, or checkpoints")
    add("--dataset", required=True)
    add("--data-root", type=Path)
    add("--split", help="official or val-as-train")
    add("--evaluator", help="property model that judges, as in crysdiff benchmark")
    add("--num-samples", type=int, default=300, help="crystals of each kind per checkpoint")
    add("--sampler", help="preset of the sampler: paper or fast")
    add("--steps", type=int, help="steps of the sampler")
    add("--guidance", type=float, default=1.0)
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs/training_curve"))
    return parser.parse_args(words)


def points(paths: Sequence[Path]) -> list[Point]:
    """Return the checkpoints of run folders, and single ones.

    Raises:
        FileNotFoundError: If a folder holds none.
    """
    out = []
    for path in paths:
        if not path.is_dir():
            out.append(Point(_FILES, path))
            continue
        found = sorted((path / "kept").glob("*.safetensors"))
        last = path / "last.ckpt"
        if last.is_file():
            epochs = int(load_checkpoint(last).card["epoch"]) + 1
            if f"epoch-{epochs:06d}" not in {file.stem for file in found}:
                found.append(last)
        if not found:
            raise FileNotFoundError(f"{path} holds no checkpoint; is it the folder of a training?")
        out += [Point(path.name, file) for file in found]
    return out


class Judge:
    """Samples from checkpoints and judges the crystals, all by the same measure.

    Args:
        settings: Data set, sampler, numbers and output folder.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.data = settings, Splits(settings)
        name = self.data.train.property_name
        if name is None:
            raise ValueError(f"{settings.dataset} has no property to ask for")
        self.property = name
        self.evaluator = property_model(
            settings, "evaluator", self.data.test, name, lambda text: print(text, flush=True), True
        )
        limits = Protocol(
            train=self.data.train.crystals(),
            evaluator=self.evaluator,
            thresholds=self.data.train.success_thresholds,
        ).success_thresholds()
        # Without the training crystals, which only the slow novelty would be counted against.
        self.protocol = Protocol(
            reference=self.data.test.crystals(),
            evaluator=self.evaluator,
            thresholds=limits,
            progress=False,
        )

    def row(self, point: Point) -> dict[str, Any]:
        """Return what a checkpoint gives, from an earlier call where it is the same."""
        model = load_checkpoint(point.path)
        key = digest_of([model.digest, repr(self.settings), repr(self.evaluator.card)])
        path = self.settings.out / "points" / f"{model.digest}.json"

        def made() -> dict[str, Any]:
            return {"key": key, **self._measured(model)}

        record = kept(path, lambda file: read_keyed(file, key), made, write_json)
        facts = {name: value for name, value in record.items() if name != "key"}
        return {"run": point.curve, "checkpoint": point.path.name, **facts}

    def _measured(self, model: LoadedModel) -> dict[str, Any]:
        folder = self.settings.out / "points" / model.digest
        part = replace(self.settings, out=folder)
        low = model.model.statistics.properties[self.property].minimum
        out: dict[str, Any] = {
            "epochs": int(model.card["epoch"]) + 1,
            "crystals_seen": crystals_seen(model.card),
            "training_seconds": model.card.get("training_seconds"),
        }
        for kind, target, keys in (
            ("minimum", {self.property: low}, CONDITIONAL),
            ("free", None, FREE),
        ):
            crystals, how = draw(part, kind, model, target, progress=True)
            # The free samples are asked for no uniqueness, which is slow.
            found = evaluate(crystals, replace(self.protocol, uniqueness=target is not None))
            out |= {f"{kind}/{key}": value for key, value in _values(found, keys, self.protocol)}
            out.setdefault("sampler", how)  # of the first part, which has a request
        return out


def crystals_seen(card: Mapping[str, Any]) -> int:
    """Return how many crystals a model has seen in training; cards of older versions do not say."""
    return int(card.get("crystals_seen") or (card["epoch"] + 1) * card["num_train"])


def _values(
    found: Evaluation, keys: Sequence[str], protocol: Protocol
) -> list[tuple[str, list[float]]]:
    """Return the metrics of some names as value, lower and upper bound."""
    metrics = dict(found.metrics)
    for name, limit in protocol.named_thresholds().items():  # validity is not asked for
        reached = (found.table["predicted"] <= limit).to_numpy()
        metrics[f"{name}_all"] = mean_estimate(reached, protocol.num_bootstrap, protocol.seed)
    picked = [(key, metrics[key]) for key in keys if key in metrics]
    return [(key, [m.value, m.low, m.high]) for key, m in picked]


def losses(run: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the losses of a run over the crystals seen, from its ``metrics.csv``."""
    rows = list(csv.DictReader(whole_lines(run / "metrics.csv")))
    return {
        kind: [
            (float(row["crystals_seen"]), float(row[f"{kind}/total"]))
            for row in rows
            if row.get("crystals_seen") and row.get(f"{kind}/total")
        ]
        for kind in ("train", "val")
    }


def plot(
    rows: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    path: Path,
) -> None:
    """Draw rates, shares and losses against the crystals seen."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    rates = {f"minimum/sr{p}_all": f"SR{p}" for p in (5, 10, 15)}
    rates["minimum/uniqueness"] = "unique"
    _lines(axes[0], rows, rates, "minimum requested")
    _lines(axes[1], rows, {"free/valid": "valid", "free/p1_share": "P1"}, "without condition")
    for name, kinds in curves.items():
        for kind, style in (("train", ":"), ("val", "-")):
            if kinds[kind]:
                x, y = zip(*kinds[kind], strict=True)
                axes[2].plot([v / 1e6 for v in x], y, style, label=f"{name}, {kind}")
    axes[2].set(title="loss")
    for axis in axes:
        axis.set(xlabel="million crystals seen")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="x-small")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _lines(
    axis: Any, rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str], title: str
) -> None:
    runs = list(dict.fromkeys(row["run"] for row in rows))
    for run, marker in zip(runs, "osv^D" * len(runs), strict=False):
        for number, (key, label) in enumerate(labels.items()):
            own = [row for row in rows if row["run"] == run and key in row]
            if not own:
                continue
            x = [row["crystals_seen"] / 1e6 for row in own]
            values, low, high = zip(*(row[key] for row in own), strict=True)
            name = label if len(runs) == 1 else f"{label}, {run}"
            axis.plot(x, values, f"{marker}-", ms=4, color=f"C{number}", label=name)
            axis.fill_between(x, low, high, color=f"C{number}", alpha=0.15, lw=0)
    axis.set(title=title, ylim=(-0.02, 1.02))


def _text(value: Any) -> str:
    return f"{value[0]:.3f}" if isinstance(value, list) else str(value)


if __name__ == "__main__":
    main()
