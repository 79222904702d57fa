"""What the predictor said before an evaluation against what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from pyg_crysdiff.design.agreement import LEVELS, coverage
from pyg_crysdiff.design.curves import with_unit
from pyg_crysdiff.pages.page import COLOURS

Array = NDArray[np.float64]


def calibration_rows(
    values: Array, means: Array, stds: Array, rounds: NDArray[np.int64]
) -> list[list[str]]:
    """Return a row for each round that has predictions, and one for all rounds.

    The columns are: round, number, mean absolute error, median absolute error, mean predicted
    deviation, and the coverage of the 50, 80 and 95 % intervals.

    Args:
        values: Evaluated values, NaN where there is none, (M,).
        means: Predicted means, NaN where there was no prediction, (M,).
        stds: Predicted standard deviations, (M,).
        rounds: Round of each, (M,).
    """
    there = np.isfinite(values) & np.isfinite(means) & np.isfinite(stds)
    groups = [(str(k), there & (rounds == k)) for k in np.unique(rounds[there])]
    if len(groups) > 1:
        groups.append(("all", there))
    rows = []
    for name, which in groups:
        off = np.abs(values - means)[which]
        shares = coverage(values[which], means[which], stds[which])
        rows.append(
            [
                name,
                str(int(which.sum())),
                f"{off.mean():.4g}",
                f"{np.median(off):.4g}",
                f"{stds[which].mean():.4g}",
                *(f"{share:.0%}" for share in shares.values()),
            ]
        )
    return rows


def held_out_rows(rounds: Sequence[Mapping[str, Any]], name: str) -> list[list[str]]:
    """Return a row for each round whose predictor was tried on values that were held out.

    The columns are: round, values that were known, held-out ones, mean absolute error, and the
    coverage of the 50, 80 and 95 % intervals.

    Args:
        rounds: As the ledger gives them; ``predictor`` holds the facts of each number.
        name: Name of the number.
    """
    rows = []
    for one in rounds:
        facts = (one.get("predictor") or {}).get(name) or {}
        if facts.get("mae") is None:
            continue
        shares = facts.get("coverage") or {}
        rows.append(
            [
                str(one["round"]),
                f"{facts.get('values', 0):,}",
                f"{facts.get('held_out', 0):,}",
                f"{facts['mae']:.4g}",
                *(f"{shares[level]:.0%}" if level in shares else "" for level in LEVELS),
            ]
        )
    return rows


def calibration_figure(
    name: str, unit: str, values: Array, means: Array, stds: Array, rounds: NDArray[np.int64],
    labels: Sequence[str],
) -> go.Figure:  # fmt: skip
    """Draw evaluated values against predicted ones, with a bar of one deviation each way.

    Args:
        name: Name of the number.
        unit: Its unit; empty where it is not known.
        values: Evaluated values, NaN where there is none, (M,).
        means: Predicted means, NaN where there was no prediction, (M,).
        stds: Predicted standard deviations, (M,).
        rounds: Round of each, (M,).
        labels: What each is, shown under the mouse.
    """
    there = np.isfinite(values) & np.isfinite(means) & np.isfinite(stds)
    x, y = means[there], values[there]
    figure = go.Figure()
    if len(x):
        both = np.concatenate([x, y])
        low, high = (float(end) for end in np.quantile(both, [0.01, 0.99]))
        margin = 0.06 * (high - low) or 1.0
        ends = [low - margin, high + margin]
        line = {"color": COLOURS[5], "width": 1, "dash": "dash"}
        figure.add_scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip")
        figure.update_xaxes(range=ends)
        figure.update_yaxes(range=ends)
    figure.add_scatter(
        x=x, y=y, mode="markers", text=[t for t, one in zip(labels, there, strict=True) if one],
        hovertemplate="%{text}<br>predicted %{x:.4g}, evaluated %{y:.4g}<extra></extra>",
        error_x={"array": stds[there], "width": 0, "thickness": 0.7, "color": "#c3c9d1"},
        marker={
            "size": 6, "color": rounds[there], "colorscale": "Viridis",
            "colorbar": {"title": "round", "tickformat": "d"}, "showscale": True,
        },
    )  # fmt: skip
    figure.update_xaxes(title=f"predicted {with_unit(name, unit)}")
    figure.update_yaxes(title=f"evaluated {with_unit(name, unit)}")
    figure.update_layout(showlegend=False)
    return figure
