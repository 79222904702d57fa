"""The comparison table as text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyg_crysdiff.benchmark.row_settings import settings_text
from pyg_crysdiff.evaluation.predictor import describe_predictor
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.evaluation.success import PERCENTILES

SUN_COLUMNS = {
    "sun_at_hull": "S.U.N.",
    "msun": "MSUN",
    "sun_at_hull_plausible": "S.U.N. plausible",
    "msun_plausible": "MSUN plausible",
    "far_below_hull": "far below",
    "sun_at_hull_relaxed": "S.U.N. relaxed",
    "msun_relaxed": "MSUN relaxed",
    "stable_at_hull": "stable",
    "metastable": "metastable",
    "unique_of_all": "unique of all",
    "novel_of_all": "new of all",
    "sun_at_hull_submitted": "S.U.N. submitted",
    "msun_submitted": "MSUN submitted",
    "on_target": "on target",
    "sun_at_hull_on_target": "S.U.N. on target",
    "msun_on_target": "MSUN on target",
    "sun_at_hull_on_target_plausible": "S.U.N. on target plausible",
    "msun_on_target_plausible": "MSUN on target plausible",
    "sun_at_hull_on_target_per_relaxation": "S.U.N. on target / relaxation",
    "msun_on_target_per_relaxation": "MSUN on target / relaxation",
    "relax_rms_median": "moved (A)",
    "moved_far": "moved > 1 A",
    "relax_converged": "converged",
    "relax_failed": "failed",
    "hull_unknown": "no hull",
    "judges_differ": "judges differ",
}
_LONG = (  # what a terminal has no room for; the report shows all
    "sun_at_hull_relaxed", "sun_at_hull_submitted", "on_target", "sun_at_hull_on_target",
    "msun_on_target", "sun_at_hull_on_target_per_relaxation", "moved_far", "relax_failed",
)  # fmt: skip
_BY_JUDGE = ("sun_at_hull", "msun", "relax_rms_median", "relax_converged")
_RATES = {"all": "all", "strict": "strict", "unique": "unique", "best10": "best of ten"}
COLUMNS = {
    **SUN_COLUMNS,
    **{f"sr{p}_{kind}": f"SR{p} {word}" for kind, word in _RATES.items() for p in PERCENTILES},
    "valid": "valid",
    "struct_valid": "struct valid",
    "comp_valid": "comp valid",
    "comp_valid_smact4": "comp smact-4",
    "uniqueness": "unique",
    "novelty": "new against train",
    "novelty_known": "new against all known",
    "novelty_database": "new against database",
    "uniqueness_prototype": "unique prototype",
    "novelty_prototype": "new prototype",
    "p1_share": "P1",
    "lookup_matched": "known",
    **{f"lookup_sr{p}_all": f"look-up SR{p}" for p in PERCENTILES},
    "lookup_mae": "look-up MAE",
    "distinct_hits": "distinct hits",
    "new_hits": "new hits",
    "cov_recall": "COV-R",
    "cov_precision": "COV-P",
    "density_emd": "dens. EMD",
    "num_elements_emd": "elem. EMD",
    "property_emd": "prop. EMD",
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
    "crmse": "cRMSE",
    "metre_struct": "METRe str.",
    "crmse_struct": "cRMSE str.",
    "metre_any_struct": "METRe any str.",
    "crmse_any_struct": "cRMSE any str.",
}
_FOUND = "held_out_found@"  # and a number of draws
_DESIGNED = "design_hits@"  # and a number of evaluations
_LIMIT = re.compile(r"SR\d+")
COUNTS = ("distinct_hits", "new_hits")


def columns_of(rows: Sequence[Row]) -> dict[str, str]:
    """Return the columns that at least one row has, key to heading."""
    shown = {key for row in rows for key in row.shown()}
    found = sorted((int(key.removeprefix(_FOUND)), key) for key in shown if key.startswith(_FOUND))
    more = {key: f"held-out found in {draws:,}" for draws, key in found}
    found = sorted((int(k.removeprefix(_DESIGNED)), k) for k in shown if k.startswith(_DESIGNED))
    more |= {key: f"hits of {evaluations:,}" for evaluations, key in found}
    for key in sorted(key for key in shown if "@" in key):
        name, _, judge = key.partition("@")
        if name in _BY_JUDGE:
            more[key] = f"{SUN_COLUMNS[name]}, {judge}"
    return {key: title for key, title in (COLUMNS | more).items() if key in shown}


def grouped(columns: Mapping[str, str]) -> dict[str, list[str]]:
    """Return headings to metric keys, with the rates of SR5, SR10 and SR15 under one heading."""
    out: dict[str, list[str]] = {}
    for key, title in columns.items():
        out.setdefault(_LIMIT.sub("SR5/10/15", title), []).append(key)
    return out


def cell(row: Row, key: str) -> str:
    """Return a metric of a row with three decimals, a count as it is; empty for none."""
    estimate = row.shown().get(key)
    if estimate is None or not math.isfinite(estimate.value):
        return ""
    if key.startswith(_DESIGNED):
        return f"{estimate.value:.1f}"
    return f"{estimate.value:.0f}" if key in COUNTS else f"{estimate.value:.3f}"


def heading(results: Results) -> list[str]:
    """Return the lines that belong above every form of the table."""
    s = results.settings
    data = (
        f"{results.dataset}; split {results.split}: {s['num_train']} crystals train, "
        f"{s['num_reference']} test; seed {results.seed}"
    )
    if results.task == "design":
        return [data, *_designed(s)]
    looked_up = [s["lookup"]["text"]] if s.get("lookup") else _judged(s)
    if "evaluator" not in s:
        return [data, *looked_up]
    card = s["evaluator"]
    limits = ", ".join(f"{k.upper()} <= {v:.6g}" for k, v in s["thresholds"].items())
    return [
        data,
        f"property {s['property']}, target {s['target']:.6g}; {limits} ({s['thresholds_from']})",
        f"evaluator: {describe_predictor(card)}",
        *looked_up,
    ]


def _designed(settings: Mapping[str, Any]) -> list[str]:
    """Return the lines on what a design benchmark searches for, and from what."""
    design = settings["design"]
    more = [f"guidance {design['guidance']:g}"]
    if given := design.get("predictors"):
        more.append(f"the choice starts from {', '.join(given)}")
    if within := design.get("known_within"):
        more.append(f"what is within {within:g} of a known crystal is known")
    if design["brake"]:
        more.append(f"no element has more than {design['growth']:g} times its share in the data")
    return [
        f"wanted: {' and '.join(settings['wanted'])}; oracle: {settings['oracle']}",
        f"known at the start: {settings['known_at_start']}; {design['budget']:,} evaluations, "
        f"{design['seeds']} seeds; loops: {design['batch']} evaluations and {design['draws']:,} "
        "draws a round; others: as many draws in one round",
        "; ".join(more),
    ]


def _judged(settings: Mapping[str, Any]) -> list[str]:
    """Return the lines on judges and hulls of a leaderboard."""
    relaxation = ", ".join(
        f"{key} {value}" for key, value in settings.get("relaxation", {}).items()
    )
    lines = [
        f"judge {name}: hull of {hull['phases']:,} phases by {hull['judge'] or 'nobody named'} "
        f"({hull['source'] or hull['file']}); relaxation: {relaxation}"
        for name, hull in settings.get("hulls", {}).items()
    ]
    target = settings.get("on_target")
    return lines + ([f"on target: {target}"] if target else [])


def warnings_of(results: Results) -> list[str]:
    """Return what should not be believed as it stands, each line with its row."""
    return [
        f"{row.method}: {line}" for row in results.rows for line in row.details.get("warnings", ())
    ]


def text_table(results: Results) -> str:
    """Return the table for a terminal: measured rows, published ones, and the rows' settings."""
    every = columns_of(results.rows)
    if results.task == "sun":
        every = {key: title for key, title in every.items() if key.partition("@")[0] not in _LONG}
    columns = grouped(every)
    width = max(len(row.method) for row in results.rows) + 2
    sizes = {title: max(len(title), 6 * len(keys)) for title, keys in columns.items()}
    lines = [*heading(results), ""]
    lines.append(" " * width + "  ".join(title.rjust(sizes[title]) for title in columns))
    for kind, note in (
        ("measured", "measured here, one harness"),
        ("published", "published, each in the columns of its own definition (other training)"),
    ):
        rows = [row for row in results.rows if row.kind == kind]
        if rows:
            lines.append(f"-- {note}")
        for row in rows:
            found = {title: [cell(row, key) for key in keys] for title, keys in columns.items()}
            cells = ("/".join(x).strip("/").rjust(sizes[title]) for title, x in found.items())
            lines.append((row.method.ljust(width) + "  ".join(cells)).rstrip())
    warned = [f"warning: {line}" for line in warnings_of(results)]
    return "\n".join([*lines, *_settings_block(results, width), *warned])


def _settings_block(results: Results, width: int) -> list[str]:
    """Return the lines that say how the crystals of every row were made."""
    texts = [(row.method, settings_text(row, results.seed)) for row in results.rows]
    lines = [f"{method.ljust(width)}{text}" for method, text in texts if text]
    return ["", "-- settings of the rows", *lines] if lines else []
