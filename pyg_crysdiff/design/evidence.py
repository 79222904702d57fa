"""What is known of values before a round: labelled data, and what was evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Oracle
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.objectives import Objective

Values = dict[str, NDArray[np.float64]]


def labelled(
    names: Sequence[str], data: Sequence[Crystal], ledger: Ledger
) -> tuple[list[Crystal], Values]:
    """Return the crystals that the predictor learns from, with their values.

    An evaluated crystal is the one that was drawn, not the one that it relaxed to: the predictor
    will be asked for crystals as they are drawn. The order is that of the data and then of the
    choice, so that it does not matter in which order answers came.

    Args:
        names: Of the values.
        data: Crystals with values in ``info``.
        ledger: With the answers so far.

    Returns:
        The crystals, and name to values, shape (M,), NaN where there is none.
    """
    crystals, found = evaluated(ledger, names, relaxed=False)
    rows = [*data, *crystals]
    return rows, {
        name: np.array([number_of(crystal, name) for crystal in data] + found[name].tolist())
        for name in names
    }


def evaluated(
    ledger: Ledger, names: Sequence[str], *, relaxed: bool
) -> tuple[list[Crystal], Values]:
    """Return the crystals whose evaluation did not fail, in the order of choice, with values.

    Args:
        ledger: With the answers.
        names: Of the values.
        relaxed: Take the relaxed crystal where there is one.

    Returns:
        The crystals, with key and values in ``info``; and name to values, shape (M,).
    """
    table = ledger.evaluations()
    table = table[table["problem"] == ""].sort_values("key")
    drawn = ledger.crystals(table["key"])
    shown = drawn | (ledger.relaxed(table["key"]) if relaxed else {})
    columns = [name for name in names if name in table]
    crystals = []
    for row in table.to_dict("records"):
        values = {name: row[name] for name in columns if not math.isnan(row[name])}
        key = row["key"]
        info = {**drawn[key].info, "key": key, "hit": bool(row["hit"]), **values}
        crystals.append(replace(shown[key], info=info))
    missing = np.full(len(table), np.nan)
    return crystals, {
        name: table[name].to_numpy(dtype=np.float64) if name in columns else missing
        for name in names
    }


def comparable(data: Sequence[Crystal], oracle: Oracle) -> tuple[list[Crystal], list[str]]:
    """Return data without the values that an oracle measures on a scale of its own.

    Args:
        data: Crystals with values in ``info``.
        oracle: With the names in ``own_scale``, if it has that.

    Returns:
        The data, and the names that some of it had.
    """
    own = set(getattr(oracle, "own_scale", ()))
    left = sorted(own & {name for crystal in data for name in crystal.info})
    if not left:
        return list(data), []
    rows = [
        replace(c, info={name: value for name, value in c.info.items() if name not in own})
        for c in data
    ]
    return rows, left


def outcomes(ledger: Ledger) -> tuple[list[Crystal], list[Crystal]]:
    """Return the crystals whose evaluation brought numbers, and those where it failed.

    Both as they were drawn, in the order of choice.
    """
    table = ledger.evaluations().sort_values("key")
    drawn = ledger.crystals(table["key"])
    ok = table["problem"] == ""
    return [drawn[key] for key in table["key"][ok]], [drawn[key] for key in table["key"][~ok]]


def number_of(crystal: Crystal, name: str) -> float:
    """Return a value that a crystal carries; NaN where it is missing or no number."""
    value: Any = crystal.info.get(name)
    try:
        number = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def best_values(objectives: Sequence[Objective], ledger: Ledger) -> dict[str, float]:
    """Return the best value of every objective with a direction, among the hits so far.

    Without a hit there is none: then any crystal that meets the bounds is an improvement.
    """
    table = ledger.evaluations()
    found = table[table["hit"]]
    if found.empty:
        return {}
    return {
        o.name: float(found[o.name].min() if o.direction < 0 else found[o.name].max())
        for o in objectives
        if o.direction
    }
