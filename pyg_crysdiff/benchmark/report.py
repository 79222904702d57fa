"""The self-contained HTML report: table, plots, definitions, structures to turn in 3D."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pyg_crysdiff.benchmark.row_settings import settings_text
from pyg_crysdiff.benchmark.table import cell, columns_of, heading, warnings_of
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.harness import Evaluation
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.pages.page import html_page
from pyg_crysdiff.pages.structures import structure_figure
from pyg_crysdiff.storage import write_text

_SHOWN = 3  # structures per row

_NOTES = {
    "": "Rates are fractions; small: 95 % bootstrap interval. SR all: share of all generated "
    "crystals by the predicted property; strict: valid too; unique: different ones only; best of "
    "ten: of ten candidates along one optimisation, of peers whose own protocol makes them. "
    "Published rows stand in the columns of their own definition, and rest on other trainings.",
    "sun": "Rates are shares of all generated crystals; small: 95 % bootstrap interval. S.U.N.: "
    "different kinds of crystals at or below the hull that are not in the training set; MSUN: "
    "within 0.1 eV/atom of it, S.U.N. included; after relaxation unless submitted is said. "
    "Of several judges the mean, each against its own hull.",
}
_GALLERY = {
    "": (
        "Structures nearest to the request",
        "Of every row the valid, unique crystals that the evaluator puts nearest.",
    ),
    "sun": (
        "New structures lowest above the hull",
        "Of every row the unique, novel crystals that the judges put lowest, as generated.",
    ),
}


def write_report(
    path: Path,
    results: Results,
    evaluations: Mapping[str, Evaluation],
    crystals: Mapping[str, Sequence[Crystal | BrokenEntry]],
    plots: Mapping[str, Path],
) -> None:
    """Write one HTML file that needs no network.

    Args:
        path: The file.
        results: Rows, definitions, settings.
        evaluations: Row name to its table of entries.
        crystals: Row name to its entries.
        plots: Title to PNG file.
    """
    title = f"pyg_crysdiff benchmark: {results.dataset}"
    cards = "".join(_cards(results, evaluations, crystals))
    head, rule = _GALLERY["sun" if results.task == "sun" else ""]
    gallery = [
        f"<h2>{head}</h2>",
        f'<p class="mute">{rule} Drag to turn.</p>',
        f'<div class="grid">{cards}</div>',
    ]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        *(f'<div class="mute">{html.escape(line)}</div>' for line in heading(results)),
        *_warnings(results),
        "<h2>Comparison</h2>",
        f'<p class="mute">{_NOTES["sun" if results.task == "sun" else ""]}</p>',
        f'<div class="scroll">{_table(results)}</div>',
        *(_plot(name, file) for name, file in plots.items()),
        *(gallery if cards else []),
        "<h2>Definitions</h2>",
        _definitions(results),
        "<h2>Settings</h2>",
        f"<pre>{html.escape(json.dumps(results.settings, indent=2))}</pre>",
    ]
    write_text(path, html_page(title, parts))


def _table(results: Results) -> str:
    columns = columns_of(results.rows)
    head = "".join(
        f'<th class="num" title="{html.escape(results.definitions.get(key, ""))}">'
        f"{html.escape(name)}</th>"
        for key, name in columns.items()
    )
    body = []
    for kind, note in (("measured", "Measured in this run"), ("published", "Published")):
        rows = [r for r in results.rows if r.kind == kind]
        if rows:
            body.append(f'<tr class="kind"><td colspan="{len(columns) + 1}">{note}</td></tr>')
        body += [_line(row, list(columns), results.seed) for row in rows]
    head = f"<thead><tr><th>method</th>{head}</tr></thead>"
    return f"<table>{head}<tbody>{''.join(body)}</tbody></table>"


def _line(row: Row, keys: Sequence[str], seed: int) -> str:
    cells = []
    for key in keys:
        estimate = row.shown().get(key)
        ends = ""
        if estimate is not None and estimate.low is not None and estimate.high is not None:
            ends = f"<small>{estimate.low:.3f} &ndash; {estimate.high:.3f}</small>"
        cells.append(f'<td class="num">{cell(row, key)}{ends}</td>')
    note = row.source if row.kind == "published" else _note(row, seed)
    name = f"{html.escape(row.method)}<small>{html.escape(note)}</small>"
    return f'<tr class="{row.kind}"><td>{name}</td>{"".join(cells)}</tr>'


def _note(row: Row, seed: int) -> str:
    """Say how many crystals a row has, how they were made, and how long it took."""
    details = row.details
    parts = [f"{details['num_samples']} crystals"]
    if "training_seconds" in details:
        parts.append(f"trained {details['training_seconds'] / 60:.1f} min")
    if "sampling_seconds" in details:
        parts.append(f"sampled in {details['sampling_seconds']:.0f} s")
    settings = settings_text(row, seed)
    return ", ".join(parts) + f"; {settings}" * bool(settings)


def _plot(title: str, file: Path) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    name = html.escape(title)
    return f'<h2>{name}</h2><figure><img alt="{name}" src="data:image/png;base64,{data}"></figure>'


def _cards(
    results: Results,
    evaluations: Mapping[str, Evaluation],
    crystals: Mapping[str, Sequence[Crystal | BrokenEntry]],
) -> list[str]:
    cards = []
    for name, evaluation in evaluations.items():
        for _, entry in _best(results, evaluation.table).iterrows():
            crystal = crystals[name][int(entry["index"])]
            if isinstance(crystal, Crystal):
                figure = structure_figure(crystal)
                note = f'<div class="mute">{html.escape(_caption(name, entry))}</div>'
                cards.append(f'<div class="card">{figure}{note}</div>')
    return cards


def _best(results: Results, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are shown: nearest to the request, or lowest above the hull."""
    good = table[table["valid"] & (table["first"] == 1)].copy()
    if results.task == "sun":
        return good[good["novel"] == 1].nsmallest(_SHOWN, "e_above_hull")
    good["off"] = np.abs(good["predicted"] - results.settings["target"])
    return good.nsmallest(_SHOWN, "off")


def _caption(name: str, entry: pd.Series) -> str:
    """Say what a structure is."""
    text = f"{name}: {entry['formula']}"
    if "e_above_hull" in entry:
        text += f", {entry['e_above_hull']:.3f} eV/atom above the hull after relaxation"
    if "predicted" in entry:
        text += f", predicted {entry['predicted']:.6g}"
    if "novel" in entry and entry["novel"] in (0, 1):
        text += ", new against the training part" if entry["novel"] else ", in the training set"
    return text


def _warnings(results: Results) -> list[str]:
    """Return a section on what should not be believed as it stands; none where all may be."""
    lines = warnings_of(results)
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return [f"<h2>Warnings</h2><ul>{items}</ul>"] if lines else []


def _definitions(results: Results) -> str:
    items = "".join(
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(text)}</dd>"
        for key, text in results.definitions.items()
    )
    return f"<details><summary>What every metric means</summary><dl>{items}</dl></details>"
