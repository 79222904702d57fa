"""Plots of requests over the whole range of a property, and of an evaluator's errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyg_crysdiff.benchmark.plots import COLOURS, STYLE, save_figure
from pyg_crysdiff.evaluation.harness import Evaluation

Achieved = Mapping[tuple[str, float], Mapping[int, Evaluation]]


def draw_requests(
    path: Path, requests: Mapping[int, float], achieved: Achieved, property_name: str
) -> Path:
    """Draw median and the middle 80 % of the achieved values over the requested one.

    Args:
        path: PNG file.
        requests: Percentile of the training set to value.
        achieved: (model, guidance) to percentile to evaluation.
        property_name: Name of the property.
    """
    labels = list(dict.fromkeys(label for label, _ in achieved))
    wanted = np.array(list(requests.values()))
    shift = 0.012 * float(np.ptp(wanted))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1 + 4.2 * max(1, len(labels)), 4.2))
        axes = figure.subplots(1, max(1, len(labels)), squeeze=False, sharey=True)[0]
        for panel, label in zip(axes, labels, strict=False):
            panel.plot(wanted, wanted, color="black", lw=1, ls=":", label="as requested")
            strengths = [g for name, g in achieved if name == label]
            for k, guidance in enumerate(strengths):
                points = [
                    np.nanquantile(_values(e), [0.1, 0.5, 0.9])
                    for e in achieved[label, guidance].values()
                ]
                low, middle, high = np.array(points).T
                panel.errorbar(
                    wanted + (k - (len(strengths) - 1) / 2) * shift, middle,
                    yerr=[middle - low, high - middle], fmt="o", ms=4, lw=1.2,
                    color=COLOURS[k % len(COLOURS)], label=f"guidance {guidance:g}",
                )  # fmt: skip
            panel.set(title=label, xlabel=f"requested {property_name}")
        axes[0].set_ylabel("achieved: median, middle 80 %")
        axes[-1].legend(fontsize=8)
        _save(figure, path)
    return path


def draw_guidance(path: Path, achieved: Achieved) -> Path:
    """Draw success, uniqueness, novelty and validity at the minimum over the guidance."""
    labels = list(dict.fromkeys(label for label, _ in achieved))
    curves = {
        "sr5_all": "SR5 all", "sr5_strict": "SR5 strict", "valid": "valid",
        "uniqueness": "unique", "novelty": "new against train",
    }  # fmt: skip
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1 + 4.2 * max(1, len(labels)), 3.6))
        axes = figure.subplots(1, max(1, len(labels)), squeeze=False, sharey=True)[0]
        for panel, label in zip(axes, labels, strict=False):
            strengths = [g for name, g in achieved if name == label]
            for colour, (key, text) in zip(COLOURS, curves.items(), strict=False):
                found = [achieved[label, g][0].metrics.get(key) for g in strengths]
                values = [np.nan if e is None else e.value for e in found]
                panel.plot(strengths, values, "o-", ms=4, color=colour, label=text)
            panel.set(title=label, xlabel="guidance, asked for the minimum", ylim=(0, 1.03))
        axes[0].set_ylabel("share of crystals")
        axes[-1].legend(fontsize=8)
        _save(figure, path)
    return path


def draw_calibration(
    path: Path,
    true: NDArray[np.float64],
    predicted: NDArray[np.float64],
    thresholds: Mapping[str, float],
    property_name: str,
) -> Path:
    """Draw an evaluator's predictions and its mean error by decile, on crystals it never saw.

    Args:
        path: PNG file.
        true: True values, (M,).
        predicted: Predicted values, (M,), NaN where there is none.
        thresholds: Limits of the success rates, drawn as lines.
        property_name: Name of the property.
    """
    known = np.isfinite(predicted)
    true, predicted = true[known], predicted[known]
    error = predicted - true
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 4))
        left, right = figure.subplots(1, 2)
        ends = [float(true.min()), float(true.max())]
        left.plot(ends, ends, color="black", lw=1, ls=":")
        left.scatter(true, predicted, s=6, alpha=0.5, color=COLOURS[0])
        for limit in thresholds.values():
            left.axvline(limit, color=COLOURS[1], lw=0.6, alpha=0.6)
            left.axhline(limit, color=COLOURS[1], lw=0.6, alpha=0.6)
        title = f"{len(true)} crystals, mean absolute error {np.abs(error).mean():.4g}"
        left.set(xlabel=f"true {property_name}", ylabel="evaluator", title=title)
        deciles = np.array_split(np.argsort(true, kind="stable"), 10)
        centres = [true[part].mean() for part in deciles]
        right.axhline(0, color="black", lw=1, ls=":")
        right.errorbar(
            centres, [error[part].mean() for part in deciles],
            yerr=[error[part].std() for part in deciles], fmt="o-", ms=4, color=COLOURS[0],
        )  # fmt: skip
        right.set(xlabel=f"true {property_name}, by decile", ylabel="error: mean, deviation")
        _save(figure, path)
    return path


def _values(found: Evaluation) -> NDArray[np.float64]:
    table = found.table
    values = table.loc[table["valid"], "predicted"].to_numpy(dtype=float)
    return values if len(values) else np.array([np.nan])


def _save(figure: Figure, path: Path) -> None:
    save_figure(figure, path)
