"""Curves of a design run: different hits, and the best value, against evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.pages.page import COLOURS
from pyg_crysdiff.storage import read_json

Curve: TypeAlias = Sequence[Sequence[float]]  # rows of evaluations, mean, low, high
BASELINES = "baselines.json"


def hit_counts(distinct: ArrayLike) -> NDArray[np.int64]:
    """Return the number of different hits after 0, 1, ..., M evaluations, (M + 1,).

    Args:
        distinct: Of each evaluation, in the order of answering, whether it is a hit that matches
            none before it, (M,).
    """
    counts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(np.asarray(distinct, dtype=bool))])
    return counts


def best_so_far(values: ArrayLike, direction: int) -> NDArray[np.float64]:
    """Return the best of the first 1, 2, ..., M values, (M,); NaN until there is one.

    Args:
        values: In the order of answering; NaN where there is none or it does not count.
        direction: -1: the lowest is best, 1: the highest.
    """
    given = -direction * np.asarray(values, dtype=np.float64)
    lowest = np.minimum.accumulate(np.where(np.isnan(given), math.inf, given))
    return np.where(np.isinf(lowest), math.nan, -direction * lowest)


def read_baselines(folder: Path) -> dict[str, Curve]:
    """Return the curves that ``baselines.json`` in a folder holds; none where there is no file.

    The file maps names to lists of ``[evaluations, mean, low, high]``.

    Raises:
        ValueError: If the file is another thing; the message names the curve and the row.
    """
    path = folder / BASELINES
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must map names to lists of [evaluations, mean, low, high]")
    for name, rows in content.items():
        if not isinstance(rows, list):
            raise ValueError(f"{path}: {name!r} must be a list of rows")
        for k, row in enumerate(rows):
            if not _is_point(row):
                raise ValueError(
                    f"{path}: {name!r}, row {k}: four numbers are needed "
                    f"(evaluations, mean, low, high), got {row!r}"
                )
    return content


def _is_point(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 4
        and all(isinstance(x, int | float) and not isinstance(x, bool) for x in row)
    )


def hits_figure(
    counts: NDArray[np.int64], rounds: Sequence[int], baselines: Mapping[str, Curve]
) -> go.Figure:
    """Draw different hits against evaluations, a line for the run and one for each baseline.

    Args:
        counts: As :func:`hit_counts` returns them.
        rounds: Evaluations after which a new round begins; drawn as thin lines.
        baselines: Name to curve; the band is its low to high.
    """
    figure = go.Figure()
    for k, (name, curve) in enumerate(baselines.items()):
        add_band(figure, name, curve, COLOURS[1:][k % (len(COLOURS) - 1)])
    figure.add_scatter(
        x=np.arange(len(counts)), y=counts, name="this run", mode="lines",
        line={"color": COLOURS[0], "width": 3, "shape": "hv"},
    )  # fmt: skip
    for x in rounds:
        figure.add_vline(x=x, line={"color": "#d9dde3", "width": 1}, layer="below")
    figure.update_xaxes(title="evaluations, in the order of answering", rangemode="tozero")
    figure.update_yaxes(title="different hits", rangemode="tozero")
    figure.update_layout(showlegend=True, legend={"x": 0.01, "y": 0.99})
    return figure


def add_band(figure: go.Figure, name: str, curve: Curve, colour: str) -> None:
    """Add a line and the band around it, which goes with the line when that is switched off."""
    x, mean, low, high = np.asarray(curve, dtype=np.float64).reshape(-1, 4).T
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself",
        fillcolor=colour, opacity=0.13, line={"width": 0}, mode="lines", hoverinfo="skip",
        showlegend=False, legendgroup=name,
    )  # fmt: skip
    figure.add_scatter(
        x=x, y=mean, name=name, mode="lines+markers", legendgroup=name,
        line={"color": colour, "width": 2, "dash": "dot"},
    )  # fmt: skip


def best_figure(
    objective: Objective, values: NDArray[np.float64], unit: str, after: str
) -> go.Figure:
    """Draw the best value of an objective with a direction against evaluations.

    Args:
        objective: What is as low or as high as can be.
        values: In the order of answering; NaN where there is none or it does not count, (M,).
        unit: Unit for the axis; empty where it is not known.
        after: What the axis says after name and unit.
    """
    best = best_so_far(values, objective.direction)
    steps = np.arange(1, len(values) + 1)
    figure = go.Figure()
    figure.add_scatter(
        x=steps, y=values, mode="markers", name="evaluated",
        marker={"color": "#9aa5b1", "size": 5, "opacity": 0.6},
    )  # fmt: skip
    figure.add_scatter(
        x=steps, y=best, mode="lines", name="best so far",
        line={"color": COLOURS[0], "width": 3, "shape": "hv"},
    )  # fmt: skip
    figure.update_xaxes(title="evaluations, in the order of answering", rangemode="tozero")
    figure.update_yaxes(title=with_unit(objective.name, unit) + after)
    zoom_to(figure, values)
    return figure


def achieved_figure(
    objective: Objective, values: NDArray[np.float64], rounds: NDArray[np.int64],
    hits: NDArray[np.bool_], labels: Sequence[str], unit: str,
) -> go.Figure:  # fmt: skip
    """Draw the values of every round against the bounds that were asked for.

    Args:
        objective: What was asked.
        values: Evaluated values, NaN where there is none, (M,).
        rounds: Round of each, (M,).
        hits: Whether each is a hit, (M,).
        labels: What each is, shown under the mouse.
        unit: Unit for the axis; empty where it is not known.
    """
    figure = go.Figure()
    spread = np.random.default_rng(0).uniform(-0.32, 0.32, len(values))
    for name, which, colour in (("no hit", ~hits, "#9aa5b1"), ("hit", hits, COLOURS[0])):
        figure.add_scatter(
            x=(rounds + spread)[which], y=values[which], mode="markers", name=name,
            text=[label for label, one in zip(labels, which, strict=True) if one],
            hovertemplate="%{text}<br>%{y:.4g}", marker={"color": colour, "size": 6},
        )  # fmt: skip
    shown = zoom_to(figure, values, objective.low, objective.high)
    if objective.bounded and shown:
        low, high = max(objective.low, shown[0]), min(objective.high, shown[1])
        asked = {"fillcolor": COLOURS[2], "opacity": 0.12, "line_width": 0, "layer": "below"}
        figure.add_hrect(
            y0=low, y1=high, annotation_text="asked for", annotation_position="inside top left",
            annotation_font_size=11, **asked,
        )  # fmt: skip
    last = int(rounds.max(initial=1))
    figure.update_xaxes(title="round", dtick=1 if last < 20 else None, range=[0.5, last + 0.5])
    figure.update_yaxes(title=with_unit(objective.name, unit))
    return figure


def zoom_to(
    figure: go.Figure, values: NDArray[np.float64], *also: float
) -> tuple[float, float] | None:
    """Let the y axis begin with the middle 98 % of values, and return its ends.

    A few crystals may have absurd values; a double click on the plot shows them.

    Args:
        figure: What is changed.
        values: NaN where there is none.
        *also: Numbers that must be seen, where they are finite.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    ends = [*np.quantile(finite, [0.01, 0.99]), *(x for x in also if math.isfinite(x))]
    low, high = float(min(ends)), float(max(ends))
    margin = 0.06 * (high - low) or max(abs(low), 1.0) * 0.06
    figure.update_yaxes(range=[low - margin, high + margin])
    return low - margin, high + margin


def with_unit(name: str, unit: str) -> str:
    """Return a name with its unit in brackets, where there is one."""
    return f"{name} ({unit})" if unit else name
