"""The comparison table as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyg_crysdiff.evaluation.predictor import describe_predictor
from pyg_crysdiff.evaluation.results import Estimate, Results, Row

COLUMNS = {
    "struct_valid": "struct valid",
    "valid": "valid",
    "sr5_strict": "SR5 strict",
    "sr10_strict": "SR10 strict",
    "sr15_strict": "SR15 strict",
    "sr5_best10": "SR5 best10",
    "sr10_best10": "SR10 best10",
    "sr15_best10": "SR15 best10",
    "uniqueness": "unique",
    "novelty": "novel",
    "cov_recall": "COV-R",
    "cov_precision": "COV-P",
    "density_emd": "dens. EMD",
    "target_mae": "target MAE",
    "match_rate": "match",
    "rmse": "RMSE",
    "match_rate_struct": "match struct.",
    "rmse_struct": "RMSE struct.",
    "match_rate_any": "match any",
    "rmse_any": "RMSE any",
    "match_rate_any_struct": "match any str.",
    "rmse_any_struct": "RMSE any str.",
    "metre": "METRe",
}


def columns_of(rows: Sequence[Row]) -> dict[str, str]:
    """Return the columns that at least one row has, key to heading."""
    return {k: v for k, v in COLUMNS.items() if any(k in row.metrics for row in rows)}


def cell(estimate: Estimate | None, interval: bool = False) -> str:
    """Return a number with three decimals, optionally with its interval; empty for none."""
    if estimate is None or not math.isfinite(estimate.value):
        return ""
    text = f"{estimate.value:.3f}"
    if interval and estimate.low is not None and estimate.high is not None:
        text += f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return text


def heading(results: Results) -> list[str]:
    """Return the lines that belong above every form of the table."""
    s = results.settings
    data = (
        f"{results.dataset}; split {results.split}: {s['num_train']} crystals train, "
        f"{s['num_reference']} test; seed {results.seed}"
    )
    if "evaluator" not in s:
        return [data]
    card = s["evaluator"]
    limits = ", ".join(f"{k.upper()} <= {v:.6g}" for k, v in s["thresholds"].items())
    return [
        data,
        f"property {s['property']}, target {s['target']:.6g}; {limits} ({s['thresholds_from']})",
        f"evaluator: {describe_predictor(card)}",
    ]


def text_table(results: Results) -> str:
    """Return the table for a terminal: measured rows, then published ones, marked apart."""
    columns = columns_of(results.rows)
    width = max(len(row.method) for row in results.rows) + 2
    sizes = {key: max(len(title), 7) for key, title in columns.items()}
    lines = [*heading(results), ""]
    lines.append(" " * width + "  ".join(title.rjust(sizes[key]) for key, title in columns.items()))
    for kind, note in (
        ("measured", "measured here, one harness"),
        ("published", "published (other split, evaluator and protocol: for orientation)"),
    ):
        rows = [row for row in results.rows if row.kind == kind]
        if rows:
            lines.append(f"-- {note}")
        for row in rows:
            cells = (cell(row.metrics.get(key)).rjust(sizes[key]) for key in columns)
            lines.append((row.method.ljust(width) + "  ".join(cells)).rstrip())
    return "\n".join(lines)
