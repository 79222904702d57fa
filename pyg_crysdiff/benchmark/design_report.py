"""Page of the design benchmark: table, curves, what each run did."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pyg_crysdiff.benchmark.table import cell, columns_of, heading
from pyg_crysdiff.design.curves import add_band
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.pages import html_page, plot, table
from pyg_crysdiff.pages.page import COLOURS
from pyg_crysdiff.storage import write_text

_RUN = {
    "seed": "seed", "rounds": "rounds", "drawn": "drawn", "candidates": "new and valid",
    "hits": "hits", "failed": "failed", "fine_tunings": "fine-tunings", "accepted": "accepted",
    "seconds": "seconds",
}  # fmt: skip


def write_design_report(
    path: Path,
    results: Results,
    curves: Mapping[str, Sequence[Sequence[float]]],
    facts: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Write one HTML file that needs no network.

    Args:
        path: The file.
        results: Rows and settings.
        curves: Method to rows of evaluations, mean, least and greatest number of hits.
        facts: Method to what is known of its runs, one for each seed.
    """
    columns = columns_of(results.rows)
    lines = [[row.method, *(_with_ends(row, key) for key in columns)] for row in results.rows]
    runs = [
        [method, *(_number(one.get(key)) for key in _RUN), _link(one)]
        for method, some in facts.items()
        for one in some
    ]
    parts = [
        "<h1>Design: different hits for a number of evaluations</h1>",
        *(f'<div class="mute">{html.escape(line)}</div>' for line in heading(results)),
        "<h2>Different hits</h2>",
        '<p class="mute">Mean of the seeds; in brackets the least and the greatest.</p>',
        table(["method", *columns.values()], lines, text=[0]),
        plot(_figure(curves), height=520),
        "<h2>Runs</h2>",
        table(["method", *_RUN.values(), "report"], runs, text=[0]),
        "<h2>How it was run</h2>",
        f"<pre>{html.escape(str(results.settings['command']))}</pre>",
    ]
    write_text(path, html_page(f"Design benchmark: {results.dataset}", parts))


def _figure(curves: Mapping[str, Sequence[Sequence[float]]]) -> go.Figure:
    figure = go.Figure()
    for k, (name, curve) in enumerate(curves.items()):
        add_band(figure, name, curve, COLOURS[k % len(COLOURS)])
    last = max(float(np.asarray(curve)[-1, 0]) for curve in curves.values())
    figure.update_xaxes(title="evaluations", range=[0, last])
    figure.update_yaxes(title="different hits", rangemode="tozero")
    figure.update_layout(showlegend=True, legend={"x": 0.01, "y": 0.99})
    return figure


def _with_ends(row: Row, key: str) -> str:
    found = row.metrics.get(key)
    if found is None or found.low is None or found.high is None:
        return cell(row, key)
    return f"{cell(row, key)} <small>({found.low:.0f} to {found.high:.0f})</small>"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _link(run: Mapping[str, Any]) -> str:
    folder = run.get("folder")
    return "" if folder is None else f'<a href="{html.escape(folder)}/report.html">report</a>'
