"""The tables of a report on its rounds, and on evaluations that failed."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyg_crysdiff.design.report_run import Run
from pyg_crysdiff.pages.page import table

_DROPPED = ("invalid", "constraint", "known", "seen", "twice", "left")
_ASKED = ("chosen", "answered", "failed")
_PARTS = ("predictor", "draw", "filter", "choose", "evaluate", "learn")
_LISTED = 200  # failures


def round_table(run: Run) -> list[str]:
    """Return the section with a line for each round."""
    if not run.rounds:
        return []
    shown = [o for o in run.objectives if o.direction]
    columns = [
        "round", "drawn", *_DROPPED, "chosen", "hits predicted", "hits", "failed",
        *(f"best {o.name}" for o in shown),
    ]  # fmt: skip
    rows = [_line(run, one) for one in run.rounds]
    note = (
        "Drawn crystals are dropped as invalid, against a constraint, known, seen (evaluated in an "
        "earlier round), or twice in one round. Left: not chosen, may be drawn again. Hits "
        "predicted: the sum of the chances that the predictor gave the chosen ones."
    )
    return [
        f'<h2>Rounds</h2><p class="mute">{note}</p>{table(columns, rows)}',
        '<p class="mute">Seconds of each part (those of the evaluations added up, where the oracle '
        "says them), and what became of the generator afterwards.</p>",
        table(
            ["round", *_PARTS, "generator"],
            [_times(run, one) for one in run.rounds],
            text=(len(_PARTS) + 1,),
        ),
    ]


def _times(run: Run, facts: Mapping[str, Any]) -> list[str]:
    """Return the seconds of a round's parts; those of the evaluations are of all together."""
    seconds, learning = facts.get("seconds") or {}, facts.get("learning") or {}
    inside = (run.evaluations["round"] == facts["round"]).to_numpy(dtype=bool)
    told = run.values("seconds")[inside]
    parts = {
        **seconds,
        "evaluate": float(np.nansum(told)) if np.isfinite(told).any() else None,
        "learn": learning.get("seconds"),
    }
    generator = html.escape(generator_text(facts.get("learning")))
    return [str(facts["round"]), *(_seconds(parts.get(part)) for part in _PARTS), generator]


def _line(run: Run, facts: Mapping[str, Any]) -> list[str]:
    number = int(facts["round"])
    counts = run.reasons.get(number, {})
    inside = (run.evaluations["round"] == number).to_numpy(dtype=bool)
    best = []
    for objective in run.objectives:
        if objective.direction:
            values = run.counting(objective)[inside]
            there = values[~np.isnan(values)]
            pick = np.min if objective.direction < 0 else np.max
            best.append(f"{pick(there):.5g}" if len(there) else "")
    return [
        str(number),
        f"{sum(counts.values()):,}",
        *(f"{counts.get(status, 0):,}" for status in _DROPPED),
        str(sum(counts.get(status, 0) for status in _ASKED)),
        _rounded(facts.get("predicted_hits")),
        str(int(run.distinct[inside].sum())),
        str(counts.get("failed", 0)),
        *best,
    ]


def _rounded(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) else ""


def _seconds(value: Any) -> str:
    """Return seconds as text, tenths of them where they are few."""
    if not isinstance(value, int | float):
        return ""
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def generator_text(learning: Any) -> str:
    """Say what became of the generator after a round.

    Args:
        learning: Facts of the fine-tuning as the ledger holds them; None where there was none.
    """
    if not isinstance(learning, Mapping):
        return "as before"
    compared = learning.get("losses")
    if not isinstance(compared, Mapping):
        return f"as before: {learning.get('problem') or 'nothing was learned'}"
    losses = "; ".join(
        f"{name} {one['before']:.4g} to {one['after']:.4g}" for name, one in compared.items()
    )
    head = "fine-tuned, taken" if learning.get("accepted") else "fine-tuned, refused"
    problem = f": {learning['problem']}" if learning.get("problem") else ""
    return f"{head} (held-out loss of {losses}){problem}"


def failures(run: Run) -> list[str]:
    """Return the section on evaluations that failed: how often for which reason, and a list."""
    failed = run.evaluations[run.evaluations["problem"] != ""]
    if not len(failed):
        return []
    reasons = Counter(failed["problem"].astype(str)).most_common(20)
    counts = table(
        ["reason", "evaluations"],
        [[html.escape(text), str(count)] for text, count in reasons],
        text=(0,),
    )
    each = table(
        ["key", "round", "formula", "reason"],
        [
            [str(key), str(number), html.escape(str(formula)), html.escape(str(problem))]
            for key, number, formula, problem in failed[
                ["key", "round", "formula", "problem"]
            ].head(_LISTED).itertuples(index=False)
        ],
        text=(0, 2, 3),
    )  # fmt: skip
    more = f"<p>{len(failed) - _LISTED} more are in the ledger.</p>" * (len(failed) > _LISTED)
    note = "A failed evaluation is part of the budget, and is not tried again."
    return [
        f'<h2>Failed evaluations</h2><p class="mute">{note}</p>{counts}',
        f"<details><summary>All of them</summary>{each}{more}</details>",
    ]
