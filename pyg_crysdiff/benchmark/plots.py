"""Plots of a benchmark run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pyg_crysdiff.evaluation.harness import Evaluation
from pyg_crysdiff.evaluation.results import Results
from pyg_crysdiff.pages.page import COLOURS
from pyg_crysdiff.storage import replacing

STYLE: Any = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False,
}  # fmt: skip
_LINES: dict[str, Any] = {
    "unconditional": "--", "chosen of": ":", "symmetrised": "-.", "lowest": (0, (5, 1)),
    "paper's sampler": (0, (1, 2)),
}  # fmt: skip
_PANELS = {
    "all": "share of all crystals",
    "strict": "valid too",
    "unique": "valid, different ones only",
    "best10": "best of ten candidates of a start",
}


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file without wide margins."""
    with replacing(path) as file:
        figure.savefig(file, dpi=150, bbox_inches="tight")


def write_plots(
    folder: Path,
    results: Results,
    evaluations: Mapping[str, Evaluation],
    property_name: str,
    training_values: Sequence[float],
    target: float,
) -> dict[str, Path]:
    """Draw the property histograms, requested versus achieved, and the success rates.

    Returns:
        Title to PNG file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train = np.asarray(training_values)
    predicted = {
        name: e.table.loc[e.table["valid"], "predicted"].dropna().to_numpy()
        for name, e in evaluations.items()
        if "predicted" in e.table
    }
    figures = {
        "Property of training data and samples": (
            "property_histograms.png",
            _histograms(predicted, train, property_name, target),
        ),
        "Requested versus achieved": (
            "requested_achieved.png",
            _requested(predicted, train, property_name, target, results),
        ),
        "Success rates": ("success_rates.png", _rates(results)),
    }
    out = {}
    for title, (name, figure) in figures.items():
        save_figure(figure, folder / name)
        out[title] = folder / name
    return out


def _window(train: np.ndarray, target: float) -> tuple[float, float]:
    low, high = np.quantile(train, [0.0, 0.995])
    pad = 0.15 * (high - low)
    return min(low, target) - pad, high + pad


def _histograms(
    predicted: Mapping[str, np.ndarray], train: np.ndarray, name: str, target: float
) -> Figure:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4))
        axes = figure.add_subplot()
        low, high = _window(train, target)
        bins = np.linspace(low, high, 60).tolist()
        axes.hist(train, bins, density=True, color="#c9ced6", label=f"training data ({len(train)})")
        models = list(dict.fromkeys(label.split(",")[0] for label in predicted))
        for label, values in predicted.items():
            style = next((s for kind, s in _LINES.items() if kind in label), "-")
            colour = COLOURS[models.index(label.split(",")[0]) % len(COLOURS)]
            shown = values[(values >= low) & (values <= high)]
            text = f"{label} ({len(shown)} of {len(values)} valid in view)"
            axes.hist(
                shown, bins, density=True, histtype="step", lw=1.6, ls=style, color=colour,
                label=text,
            )  # fmt: skip
        axes.axvline(target, color="black", lw=1, ls=":", label=f"requested {target:.6g}")
        axes.set(xlabel=f"{name} (evaluator's prediction)", ylabel="density", xlim=(low, high))
        # Below the axes: a run with many rows has a legend that would cover the curves.
        axes.legend(
            fontsize=8, ncols=2, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15)
        )
    return figure


def _requested(
    predicted: Mapping[str, np.ndarray],
    train: np.ndarray,
    name: str,
    target: float,
    results: Results,
) -> Figure:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 0.6 + 0.55 * max(1, len(predicted))))
        axes = figure.add_subplot()
        labels = list(predicted)[::-1]
        data = [predicted[label] for label in labels]
        if data:
            axes.boxplot(
                data, orientation="horizontal", tick_labels=labels, widths=0.55, whis=(5, 95),
                showfliers=False, medianprops={"color": COLOURS[1]},
            )  # fmt: skip
        axes.axvline(target, color="black", lw=1, ls=":")
        for key, limit in results.settings["thresholds"].items():
            axes.axvline(limit, color=COLOURS[0], lw=0.7, alpha=0.6)
            axes.text(
                limit, 1.0, key.upper(), rotation=90, fontsize=7, va="bottom", ha="center",
                color=COLOURS[0], transform=axes.get_xaxis_transform(),
            )  # fmt: skip
        low, high = _window(train, target)
        axes.set(xlabel=f"achieved {name}; dotted: requested {target:.6g}", xlim=(low, high))
    return figure


def _rates(results: Results) -> Figure:
    """Draw the success rates, a panel per definition that some row has."""
    panels = {
        kind: title
        for kind, title in _PANELS.items()
        if any(f"sr5_{kind}" in row.shown() for row in results.rows)
    }
    names = list(dict.fromkeys((r.kind, r.method) for r in results.rows))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1 + 4 * max(1, len(panels)), 3.6))
        axes = figure.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0]
        for panel, (kind, title) in zip(axes, panels.items(), strict=False):
            rows = [r for r in results.rows if f"sr5_{kind}" in r.shown()]
            width = 0.8 / max(1, len(rows))
            for i, row in enumerate(rows):
                keys = [f"sr{p}_{kind}" for p in (5, 10, 15)]
                values = [row.metrics[k].value if k in row.metrics else np.nan for k in keys]
                published = row.kind == "published"
                panel.bar(
                    np.arange(3) + i * width, values, width * 0.92,
                    label=f"{row.method}{' (published)' * published}",
                    color=f"C{names.index((row.kind, row.method)) % 10}",
                    alpha=0.35 if published else 1.0, hatch="//" if published else None,
                )  # fmt: skip
            panel.set_xticks(np.arange(3) + 0.4 - width / 2, ["SR5", "SR10", "SR15"])
            panel.set(title=title, ylim=(0, 1.02))
        axes[0].set_ylabel("success rate")
        # Not every row stands in every panel: one legend for all of them.
        handles = {
            label: handle
            for panel in axes
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles, fontsize=9, ncols=3, loc="upper center",
            bbox_to_anchor=(0.5, 0.02),
        )  # fmt: skip
    return figure
