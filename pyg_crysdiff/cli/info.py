"""Tell what a checkpoint or a property model was trained on, and what can be asked of it."""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pyg_crysdiff.cli.ending import say

EXAMPLE = """examples:
  crysdiff info                     what comes with the package, one a line
  crysdiff info carbon24-cds
  crysdiff info perov5-predictor
  crysdiff info runs/demo/last.ckpt --json
"""
_WIDTH, _LABEL = 96, 16
# A card has intervals, the printed table has not.
_INTERVALS = re.compile(r"[;,]? *low and high are 95 % intervals")
_SIZES = {
    "distribution": "distribution (as in the training set)",
    "target": "target (as in training crystals near the target)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add(
        "checkpoint", nargs="?", metavar="CHECKPOINT",
        help="file written by crysdiff train, export or train-evaluator, or the name of one that "
        "comes with the package (default: list those)",
    )  # fmt: skip
    add("--json", action="store_true", help="print JSON, for programs")
    add("--trust", action="append", default=[], metavar="PACKAGE", help="own conditioner package")


def run(args: argparse.Namespace) -> None:
    """Print the facts of one checkpoint, or a line for each that comes with the package.

    Raises:
        FileNotFoundError: If there is no such file or name; the message has all names.
    """
    if args.checkpoint is None:
        _list(args.json)
        return
    from pyg_crysdiff.property.summary import (  # noqa: PLC0415
        predictor_file,
        summarise_predictor,
    )

    if (file := predictor_file(args.checkpoint)) is not None:
        told = summarise_predictor(file)
        page = _predictor_page(args.checkpoint, told)
        say(json.dumps(told, indent=1) if args.json else "\n".join(page))
        return
    from pyg_crysdiff.models import load_checkpoint  # noqa: PLC0415
    from pyg_crysdiff.sampling.summary import summarise  # noqa: PLC0415

    facts = summarise(load_checkpoint(args.checkpoint, trusted=args.trust))
    say(json.dumps(facts, indent=1) if args.json else "\n".join(_page(args.checkpoint, facts)))


def _list(as_json: bool) -> None:
    """Print the checkpoints and property models that come with the package."""
    from pyg_crysdiff.models.pretrained import predictor_names, pretrained_cards  # noqa: PLC0415
    from pyg_crysdiff.property.summary import (  # noqa: PLC0415
        predictor_file,
        summarise_predictor,
    )

    rows = {name: _row(packed) for name, packed in pretrained_cards().items()}
    files = {name: predictor_file(name) for name in predictor_names()}
    models = {name: summarise_predictor(file) for name, file in files.items() if file is not None}
    if as_json:
        say(json.dumps({**rows, **models}, indent=1))
        return
    lines = [("name", "data set", "crystals", "property", "elements", "atoms")]
    for name, row in rows.items():
        low, high = row["num_atoms"]
        lines.append(
            (
                name,
                f"{row['dataset']} ({row['split']})",
                f"{row['num_crystals']:,}",
                ", ".join(row["properties"]),
                f"{row['num_elements']}",
                f"{low}" if low == high else f"{low} to {high}",
            )
        )
    page = [*_table(lines, right=(2, 4)), "", *_predictor_table(models)]
    say("\n".join([*page, "More of one: crysdiff info NAME"]))


def _predictor_table(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lay out a line for each property model."""
    lines = [("predictor", "data set", "crystals", "property", "held-out error")]
    for name, facts in models.items():
        data, told = facts["trained_on"], facts["predicts"]
        error = f"{told['held_out_mae']:.3g} {told['unit'] or ''}"
        dataset = f"{data['dataset']} ({data['part']})"
        lines.append((name, dataset, f"{data['num_crystals']:,}", told["property"], error))
    return _table(lines, right=(2,))


def _row(packed: Mapping[str, Any]) -> dict[str, Any]:
    card, statistics = packed["card"], packed["statistics"]
    sizes = [int(n) for n in statistics["num_atoms"]]
    return {
        "kind": "generator",
        "dataset": card.get("dataset"),
        "split": card.get("split"),
        "num_crystals": card.get("num_train", statistics["num_crystals"]),
        "properties": list(statistics["properties"]),
        "num_elements": len(statistics["elements"]),
        "num_atoms": [min(sizes), max(sizes)],
    }


def _page(name: str, facts: Mapping[str, Any]) -> list[str]:
    """Lay out the facts of one checkpoint for people."""
    lines = [name, "", "Trained on", *_training_set(facts["trained_on"])]
    lines += ["", "Properties that can be asked for", *_properties(facts["trained_on"])]
    lines += ["", "Model", *_model(facts["model"], facts["training"])]
    lines += ["", "Sampling, where nothing else is asked for", *_sampling(facts["sampling"])]
    lines += _measured(facts["metrics"])
    return lines + _file(facts["file"]) + _entry("licence", facts["licence"])


def _predictor_page(name: str, facts: Mapping[str, Any]) -> list[str]:
    """Lay out the facts of one property model for people."""
    data, told, training = facts["trained_on"], facts["predicts"], facts["training"]
    part = f", {data['part']} part" if data["part"] else ""
    count = f", {data['num_crystals']:,} crystals" if data["num_crystals"] else ""
    elements, unit = data["elements"] or [], f" {told['unit']}" if told["unit"] else ""
    many = f"{len(elements)}: " if len(elements) > 1 else ""
    lines = [name, "", "Trained on"]
    lines += _entry("data set", f"{data['dataset'] or 'unknown'}{part}{count}")
    lines += _entry("elements", many + " ".join(elements))
    values = f"training values {told['mean']:.4g} on average, standard deviation {told['std']:.3g}"
    lines += ["", "Predicts", *_entry("property", f"{told['property']}{unit and f' ({unit[1:]})'}")]
    lines += _entry("", values)
    if told["held_out_mae"] is not None:
        error = f"{told['held_out_mae']:.4g}{unit} on average"
        lines += _entry("held-out error", f"{error}, of {told['num_held_out']} crystals left out")
    time = (
        [f"{training['training_seconds'] / 60:.0f} min"] if "training_seconds" in training else []
    )
    time += [f"{training['epochs']} epochs"] if "epochs" in training else []
    lines += ["", "Model", *_entry("network", "DimeNet++")]
    lines += _entry("parameters", f"{facts['model']['num_parameters']:,}")
    return lines + _entry("training", ", ".join(time)) + _file(facts["file"])


def _file(file: Mapping[str, Any]) -> list[str]:
    large = file["bytes"] >= 2**20
    size = f"{file['bytes'] / 2 ** (20 if large else 10):.1f} {'MiB' if large else 'KiB'}"
    version = f", written by version {file['version']}" if file["version"] else ""
    lines = ["", "File", *_entry("path", file["path"])]
    return lines + _entry("", f"{size}, digest {file['digest']}{version}")


def _training_set(facts: Mapping[str, Any]) -> list[str]:
    split = f", split {facts['split']}" if facts["split"] else ""
    sizes = facts["num_atoms"]
    span = f"{sizes['minimum']} to {sizes['maximum']}, mean {sizes['mean']:.1f}"
    if sizes["minimum"] == sizes["maximum"]:
        span = f"{sizes['minimum']}"
    elements = facts["elements"]
    count = f"{len(elements)}: " if len(elements) > 1 else ""
    return [
        *_entry(
            "data set",
            f"{facts['dataset'] or 'unknown'}{split}, {facts['num_crystals']:,} crystals",
        ),
        *_entry("elements", count + " ".join(elements)),
        *_entry("atoms per cell", span),
    ]


def _properties(facts: Mapping[str, Any]) -> list[str]:
    if not facts["properties"]:
        return _entry("none", "sample with --target none")
    rows = [("", "minimum", "mean", "maximum", "")]
    for name, p in facts["properties"].items():
        numbers = (f"{p[key]:.6g}" for key in ("minimum", "mean", "maximum"))
        rows.append((name, *numbers, p["unit"] or ""))
    return [f"  {line}" for line in _table(rows, right=(1, 2, 3))]


def _model(facts: Mapping[str, Any], training: Mapping[str, Any]) -> list[str]:
    asked = []
    if facts["needs_formula"]:
        asked.append("predicts structures of given compositions (--formula)")
    if not facts["takes_sizes"]:
        asked.append("generates number of atoms and composition; takes no constraints")
    told = []
    if "training_seconds" in training:
        told.append(f"{training['training_seconds'] / 60:.0f} min")
    if "global_step" in training:
        told.append(f"{training['global_step']:,} steps")
    return [
        *_entry("family", f"{facts['family']}, conditioner {facts['conditioner']}"),
        *_entry("parameters", f"{facts['num_parameters']:,}"),
        *_entry("note", "; ".join(asked)),
        *_entry("training", ", ".join(told)),
        *_entry("hardware", training.get("hardware")),
    ]


def _sampling(facts: Mapping[str, Any]) -> list[str]:
    guidance = f"{facts['guidance']:g}" + (" (none)" if facts["guidance"] == 1 else "")
    return [
        *_entry("sampler", f"{facts['in_words']} ({facts['from']})"),
        *_entry("guidance", guidance),
        *_entry("atoms per cell", _SIZES.get(facts["num_atoms"], facts["num_atoms"])),
        *_entry("network calls", f"{facts['network_calls']:,} per crystal"),
    ]


def _measured(metrics: Any) -> list[str]:
    """Lay out the measured rates of a card, a column per row; anybody may have written it."""
    rows = metrics.get("rows") if isinstance(metrics, Mapping) else None
    if not isinstance(rows, Mapping) or not all(isinstance(row, Mapping) for row in rows.values()):
        return []
    keys = dict.fromkeys(key for row in rows.values() for key in row)
    lines: list[Sequence[str]] = [("", *rows)]
    lines += [(key, *(_rate(row.get(key)) for row in rows.values())) for key in keys]
    table = [f"  {line}" for line in _table(lines, right=range(1, len(rows) + 1))]
    notes = [_INTERVALS.sub("", str(metrics[k])) for k in ("protocol", "caveat") if metrics.get(k)]
    notes.append("What the names mean: docs/report.md")
    return ["", "Measured", *table, *(line for note in notes for line in _entry("", note, 2))]


def _rate(value: Any) -> str:
    number = value.get("value") if isinstance(value, Mapping) else value
    if not isinstance(number, int | float):
        return ""
    return f"{number:.0f}" if number > 1 and number == int(number) else f"{number:.3f}"  # a count


def _entry(label: str, text: Any, indent: int = _LABEL + 2) -> list[str]:
    """Return the lines of one fact; none where nothing is known."""
    if text is None or text == "":
        return []
    first = f"  {label:<{_LABEL}}" if indent > 2 else "  "
    return textwrap.wrap(
        str(text), _WIDTH, initial_indent=first, subsequent_indent=" " * indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _table(rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """Align columns, those in ``right`` to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
