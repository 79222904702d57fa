"""The report of a design run: one HTML file that needs no network."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyg_crysdiff.design.calibration import calibration_figure, calibration_rows, held_out_rows
from pyg_crysdiff.design.curves import (
    Curve,
    achieved_figure,
    best_figure,
    best_so_far,
    hit_counts,
    hits_figure,
    read_baselines,
)
from pyg_crysdiff.design.diversity import (
    diversity_rows,
    growth_warnings,
    shares_figure,
)
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.report_rounds import failures, round_table
from pyg_crysdiff.design.report_run import Run
from pyg_crysdiff.design.report_structures import structures
from pyg_crysdiff.pages.page import html_page, plot, table
from pyg_crysdiff.pages.structures import ON_DEMAND
from pyg_crysdiff.storage import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT = "report.html"
_STYLE = """
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; }
.facts dt { margin: 0; } .lead { font-size: 1.05rem; } .warn { border-left: 4px solid #c2491d;
  padding: .3rem .9rem; background: #fdf3ef; } .pair { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(540px, 1fr)); } .pair > * { min-width: 0; }
summary { cursor: pointer; margin: .6rem 0; }
"""
_HEAD = {
    "checkpoint": "generator",
    "oracle": "oracle",
    "budget": "budget, evaluations",
    "data": "labelled data",
    "known": "known crystals",
    "known_within": "known within",
    "predictor": "given predictor",
    "control": "constraints",
    "seed": "seed",
    "command": "command",
    "created": "begun",
    "versions": "versions",
}


def write_report(folder: str | Path, baselines: Mapping[str, Curve] | None = None) -> Path:
    """Write ``report.html`` into the folder of a design run, and return its path.

    It may be written while the run is on, and shows what the ledger holds.

    Args:
        folder: Folder of the run.
        baselines: Name to rows of evaluations, mean, low and high number of different hits; None
            for those of ``baselines.json`` in the folder, where there is such a file.

    Raises:
        FileNotFoundError: If there is no run in the folder.
        ValueError: If the ledger or ``baselines.json`` cannot be read.
    """
    ledger = Ledger(folder)
    curves = read_baselines(ledger.folder) if baselines is None else baselines
    path = ledger.folder / REPORT
    write_text(path, report_page(Run.read(ledger), curves))
    return path


def report_page(run: Run, baselines: Mapping[str, Curve]) -> str:
    """Return the report of a run as HTML."""
    title = "Design: " + ", ".join(str(objective) for objective in run.objectives)
    parts = [f"<h1>{html.escape(title)}</h1>", *_head(run), *_warnings(run)]
    if len(run.evaluations):
        parts += [*_curves(run, baselines), *_achieved(run), *structures(run)]
    parts += [*round_table(run), *_diversity(run), *_calibration(run), *failures(run)]
    whole = html.escape(json.dumps(dict(run.facts), indent=2, ensure_ascii=False))
    parts.append(f"<h2>Settings</h2><details><summary>All settings</summary><pre>{whole}</pre>")
    parts.append("</details>")
    return html_page(title, parts, style=_STYLE, script=ON_DEMAND)


def achieved(run: Run) -> str:
    """Say in one sentence what a run has achieved."""
    done = len(run.evaluations)
    failed = int((run.evaluations["problem"] != "").sum())
    hits = int(run.distinct.sum())
    if not done:
        return f"No evaluation has ended yet; {len(run.waiting)} are under way."
    text = f"{hits} different hits in {done} evaluations ({hits / done:.1%})"
    text += f", of which {failed} failed" if failed else ""
    twice = int(run.evaluations["hit"].sum()) - hits
    text += f"; {twice} more hits match one of them" if twice else ""
    best = [_best(run, objective) for objective in run.objectives if objective.direction]
    text += "".join(f"; {line}" for line in best if line)
    return text + (f"; {len(run.waiting)} are under way." if run.waiting else ".")


def _best(run: Run, objective: Objective) -> str:
    values = run.counting(objective)
    best = best_so_far(values, objective.direction)[-1]
    if math.isnan(best):
        return ""
    row = run.evaluations.iloc[int(np.flatnonzero(values == best)[0])]
    unit = run.unit(objective.name)
    word = "lowest" if objective.direction < 0 else "highest"
    value = f"{best:.5g} {unit}".strip()
    return f"{word} {objective.name} {value} ({row['formula']}, {row['key']})"


def _head(run: Run) -> list[str]:
    asked = "; ".join(_asked(run, objective) for objective in run.objectives)
    facts = {"asked for": asked}
    for name, label in _HEAD.items():
        value = run.about.get(name, run.facts.get(name))
        if value not in (None, "", [], {}):
            facts[label] = _text(value)
    pairs = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in facts.items()
    )
    return [
        f'<p class="lead"><b>{html.escape(achieved(run))}</b></p>',
        f'<dl class="facts">{pairs}</dl>',
    ]


def _asked(run: Run, objective: Objective) -> str:
    unit = run.unit(objective.name)
    words = []
    if math.isfinite(objective.low) and math.isfinite(objective.high):
        words.append(f"from {objective.low:g} to {objective.high:g}")
    elif objective.bounded:
        least = math.isfinite(objective.low)
        bound = objective.low if least else objective.high
        words.append(f"at {'least' if least else 'most'} {bound:g}")
    text = " ".join([objective.name, *words, unit] if words else [objective.name])
    better = {-1: ", the lower the better", 1: ", the higher the better", 0: ""}
    return text.strip() + better[objective.direction]


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and "digest" in value and "crystals" in value:
        return f"{value['crystals']:,} crystals"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _warnings(run: Run) -> list[str]:
    lines = growth_warnings(run.by_round(), run.data_shares)
    failed = float((run.evaluations["problem"] != "").mean()) if len(run.evaluations) else 0.0
    if failed > 0.3:
        lines.append(f"{failed:.0%} of the evaluations failed: see the reasons below")
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return [f'<div class="warn"><b>Warnings</b><ul>{items}</ul></div>'] if lines else []


def _curves(run: Run, baselines: Mapping[str, Curve]) -> list[str]:
    per_round = run.evaluations.groupby("round").size().sort_index()
    ends = per_round.cumsum().tolist()[:-1]
    figures = [plot(hits_figure(hit_counts(run.distinct), ends, baselines), 420)]
    several = len(run.objectives) > 1
    for objective in run.objectives:
        if objective.direction:
            values = run.counting(objective)
            word = ", all else met" if several else ""
            figure = best_figure(objective, values, run.unit(objective.name), word)
            figures.append(plot(figure, 420))
    note = "A hit counts once: those that match an earlier one do not. Thin lines: new rounds."
    bands = " Dotted: other methods, with the band of their seeds." if baselines else ""
    return [
        f'<h2>Hits against evaluations</h2><p class="mute">{note}{bands}</p>',
        _beside(figures),
    ]


def _beside(figures: Sequence[str]) -> str:
    """Return plots in two columns, or the only one over the whole width."""
    return f'<div class="pair">{"".join(figures)}</div>' if len(figures) > 1 else figures[0]


def _achieved(run: Run) -> list[str]:
    rounds = run.evaluations["round"].to_numpy(dtype=np.int64)
    hits = run.evaluations["hit"].to_numpy(dtype=bool)
    figures = [
        plot(achieved_figure(o, run.values(o.name), rounds, hits, run.labels(), run.unit(o.name)))
        for o in run.objectives
    ]
    note = (
        "Every evaluated crystal by its round. The axis holds the middle 98 %; a double click "
        "shows the others."
    )
    return [
        f'<h2>Asked for and achieved</h2><p class="mute">{note}</p>',
        _beside(figures),
    ]


def _diversity(run: Run) -> list[str]:
    rounds = run.by_round()
    if not rounds:
        return []
    columns = ["round", "chosen", "formulas", "prototypes", "commonest prototype", "elements"]
    note = (
        "Of the chosen crystals: different reduced formulas; prototypes (anonymous formula and "
        "space group); share of crystals that hold an element."
    )
    height = 150 + 26 * len(rounds)
    return [
        f'<h2>Diversity</h2><p class="mute">{note}</p>',
        table(columns, diversity_rows(rounds), text=(4, 5)),
        plot(shares_figure(rounds), max(260, height)),
    ]


def _calibration(run: Run) -> list[str]:
    rounds = run.evaluations["round"].to_numpy(dtype=np.int64)
    columns = ["round", "number", "mean error", "median", "deviation", "50 %", "80 %", "95 %"]
    parts: list[str] = []
    for objective in run.objectives:
        name, unit = objective.name, run.unit(objective.name)
        columns_of = [run.values(c) for c in (name, f"predicted_{name}", f"std_{name}")]
        values, means, stds = columns_of
        rows = calibration_rows(values, means, stds, rounds)
        if rows:
            figure = calibration_figure(name, unit, values, means, stds, rounds, run.labels())
            told = table(columns, rows) + _held_out(run, name)
            parts.append(f'<div class="pair">{plot(figure, 420)}<div>{told}</div></div>')
    note = (
        "What the predictor said before the evaluation against what came out: absolute errors, the "
        "standard deviation that it gave itself, and the share of values in its 50, 80 and 95 % "
        "intervals. More than that means too careful, less too sure. The chosen crystals are no "
        "random ones: those that were predicted too good are chosen more often."
    )
    return [f'<h2>Calibration of the predictor</h2><p class="mute">{note}</p>', *parts] * bool(
        parts
    )


def _held_out(run: Run, name: str) -> str:
    """Return how good the predictor of each round was on values that it had not seen."""
    rows = held_out_rows(run.rounds, name)
    if not rows:
        return ""
    columns = ["round", "values", "held out", "mean error", "50 %", "80 %", "95 %"]
    head = "<summary>The same on values that were held out, before each round</summary>"
    return f"<details>{head}{table(columns, rows)}</details>"
