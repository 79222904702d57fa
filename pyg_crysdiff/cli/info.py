"""Tell what a checkpoint was trained on, what can be asked of it, and how it is sampled."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pyg_crysdiff.cli.ending import say

EXAMPLE = """examples:
  crysdiff info                     the checkpoints that come with the package, one a line
  crysdiff info carbon24-cds
  crysdiff info runs/demo/last.ckpt --json
"""
_WIDTH, _LABEL = 96, 16
_SIZES = {
    "distribution": "distribution (as in the training set)",
    "target": "target (as in training crystals near the target)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add(
        "checkpoint", nargs="?", metavar="CHECKPOINT",
        help="file written in training or by crysdiff export, or the name of one that comes with "
        "the package (default: list those)",
    )  # fmt: skip
    add("--json", action="store_true", help="print JSON, for programs")
    add("--trust", action="append", default=[], metavar="PACKAGE", help="own conditioner package")


def run(args: argparse.Namespace) -> None:
    """Print the facts of one checkpoint, or a line for each that comes with the package."""
    if args.checkpoint is None:
        _list(args.json)
        return
    from pyg_crysdiff.models import load_checkpoint  # noqa: PLC0415
    from pyg_crysdiff.sampling.summary import summarise  # noqa: PLC0415

    facts = summarise(load_checkpoint(args.checkpoint, trusted=args.trust))
    say(json.dumps(facts, indent=1) if args.json else "\n".join(_page(args.checkpoint, facts)))


def _list(as_json: bool) -> None:
    """Print the checkpoints that come with the package, from their cards alone."""
    from pyg_crysdiff.models.pretrained import pretrained_cards  # noqa: PLC0415

    rows = {name: _row(packed) for name, packed in pretrained_cards().items()}
    if as_json:
        say(json.dumps(rows, indent=1))
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
    say("\n".join([*_table(lines, right=(2, 4)), "More of one: crysdiff info NAME"]))


def _row(packed: Mapping[str, Any]) -> dict[str, Any]:
    card, statistics = packed["card"], packed["statistics"]
    sizes = [int(n) for n in statistics["num_atoms"]]
    return {
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
    file = facts["file"]
    large = file["bytes"] >= 2**20
    size = f"{file['bytes'] / 2 ** (20 if large else 10):.1f} {'MiB' if large else 'KiB'}"
    version = f", written by version {file['version']}" if file["version"] else ""
    lines += ["", "File", *_entry("path", file["path"])]
    lines += _entry("", f"{size}, digest {file['digest']}{version}")
    return lines + _entry("licence", facts["licence"])


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
    notes = [str(metrics[key]) for key in ("protocol", "caveat") if metrics.get(key)]
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
