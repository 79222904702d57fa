"""How many different hits a row finds with how many draws, by the look-up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyg_crysdiff.benchmark.plots import COLOURS, STYLE, save_figure
from pyg_crysdiff.evaluation.harness import Evaluation
from pyg_crysdiff.evaluation.hits import TRAIN, distinct_hits
from pyg_crysdiff.evaluation.results import Results

TITLE = "Different true hits and draws"


def write_hit_plots(
    folder: Path, results: Results, evaluations: Mapping[str, Evaluation]
) -> dict[str, Path]:
    """Draw the look-up's hits over the number of draws, one line per sampled row.

    Args:
        folder: Folder of the plots.
        results: Rows and settings, with ``lookup`` where known crystals were looked up.
        evaluations: Row name to its table of entries.

    Returns:
        Title to PNG file; nothing where there was no look-up or no limit.
    """
    facts = results.settings.get("lookup") or {}
    if facts.get("hits") is None:
        return {}
    limit = results.settings["thresholds"]["sr5"]
    sampled = [row.method for row in results.rows if row.source != "data set"]
    curves = {name: hit_curves(evaluations[name], limit) for name in sampled if name in evaluations}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "hits.png"
    save_figure(_figure(curves, facts["hits"], facts["held_out_hits"]), file)
    return {TITLE: file}


def hit_curves(found: Evaluation, limit: float) -> NDArray[np.int64]:
    """Return how many different hits, and held-out ones among them, the first n draws have.

    Args:
        found: Evaluation with the columns of the look-up.
        limit: Upper limit of the known value.

    Returns:
        Two rows of counts after 0, 1, ..., M draws, (2, M + 1).
    """
    hits = distinct_hits(found.table, limit)
    draws = hits["draw"].to_numpy(dtype=np.int64)
    held_out = draws[(hits["known_part"] != TRAIN).to_numpy()]
    counts = [np.bincount(d, minlength=len(found.table) + 1).cumsum() for d in (draws, held_out)]
    return np.stack(counts)


def _figure(curves: Mapping[str, NDArray[np.int64]], all_hits: int, held_out: int | None) -> Figure:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.8))
        left, right = figure.subplots(1, 2)
        for i, (name, (every, new)) in enumerate(curves.items()):
            style = {"color": COLOURS[i % len(COLOURS)], "ls": "-" if i < len(COLOURS) else "--"}
            left.plot(every, label=name, **style)
            if held_out:
                right.plot(new / held_out, label=name, **style)
        left.set(title=f"of {all_hits:,} known ones", ylabel="different true hits", ylim=(0, None))
        share = f"share of the {held_out or 0:,} held-out hits"
        right.set(title="not in the training part", ylabel=share, ylim=(0, 1.02))
        for panel in (left, right):
            _finish(panel)
        if curves:
            left.legend(fontsize=8)
    return figure


def _finish(panel: Axes) -> None:
    panel.set_xlabel("draws, in the order of the file")
    panel.set_xlim(0, None)
