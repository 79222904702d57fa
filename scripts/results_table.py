"""Write the success rates of docs/results.md from the results of benchmark runs.

    python scripts/results_table.py --add carbon24=runs/benchmark-carbon24/results.json
    python scripts/results_table.py --add perov5=seed0/results.json,seed1/results.json
    python scripts/results_table.py --add-row "perov5=runs/other/results.json:cds:cds, focus"
    python scripts/results_table.py --add-sun mp20-chgnet=runs/benchmark-mp20-sun/results.json
    python scripts/results_table.py --add-design perov5-cold=runs/cold/results.json
    python scripts/results_table.py          # tables anew from benchmarks/results/*.json

``--add`` keeps a copy of a run's results.json in ``benchmarks/results/``, with the folders of the
machine taken out of its paths; of several seeds of one run as ``perov5@0.json``, ``perov5@1.json``
and so on. Seeds of one run make one table, whose cells are the mean and, in brackets, the lowest
and the highest value. What follows the first dash of a name, as in ``carbon24-focused``, stands in
the head of its table, which leaves the published rows to the first one.

``--add-row`` puts one row of another run into a kept table, under a name of its own where one
follows: data, split and judge must be the same. The run's command is kept with it. The name of a
kept leaderboard begins with ``sun/``.

``--add-sun`` keeps the leaderboard of a ``--task sun`` run in ``benchmarks/results/sun/``; its
table has an interval beside every rate. ``--add-design`` keeps a ``--task design`` run in
``benchmarks/results/design/``; its table has the least and the greatest seed beside every number.

A table has the columns of the benchmark's own (``pyg_crysdiff.benchmark.table``) that one of its
rows has, and the settings of every row. Published rates stand in the columns of their own
definition.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyg_crysdiff.benchmark.row_settings import row_settings
from pyg_crysdiff.benchmark.table import COLUMNS, COUNTS, columns_of, grouped
from pyg_crysdiff.evaluation.results import Estimate, Results, Row

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "benchmarks" / "results"
KEPT_SUN = KEPT / "sun"
KEPT_DESIGN = KEPT / "design"
BEGIN, END = "<!-- success rates: made by scripts/results_table.py -->", "<!-- end of table -->"
BEGIN_SUN = "<!-- leaderboard: made by scripts/results_table.py -->"
BEGIN_DESIGN = "<!-- design: made by scripts/results_table.py -->"
_SUN = (  # of the many columns of a leaderboard
    "sun_at_hull", "msun", "sun_at_hull_plausible", "msun_plausible", "far_below_hull",
    "metastable", "novel_of_all", "msun_submitted", "msun_on_target_plausible",
    "relax_rms_median", "hull_unknown", "comp_valid", "judges_differ",
)  # fmt: skip
_SUN_HEADS = {"novel_of_all": "novel", "msun_on_target_plausible": "MSUN on target"}
_ABSOLUTE = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)+(?=[\w.+-])")
_LEFT_OUT = ("struct_valid", "target_mae", "property_emd")  # for the width of the page


def keep(name: str, paths: Sequence[Path]) -> None:
    """Copy results.json files of one run, one per seed, without the folders of the machine.

    Raises:
        ValueError: If two files are of one seed.
    """
    found = [Results.load(path) for path in paths]
    seeds = [results.seed for results in found]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{name}: two of the files are of one seed: {seeds}")
    for old in (*KEPT.glob(f"{name}.json"), *KEPT.glob(f"{name}@*.json")):
        old.unlink()
    for results in found:
        _forget_folders(results)
        results.save(KEPT / (f"{name}@{results.seed}.json" if len(found) > 1 else f"{name}.json"))


def add_row(name: str, path: Path, method: str, new_name: str) -> None:
    """Put a row of another run into a kept table, after its own measured rows.

    A row of this name that is there already is replaced.

    Raises:
        ValueError: If the run has no such row, or data, split or judge are others.
    """
    kept, other = Results.load(KEPT / f"{name}.json"), Results.load(path)
    for what in ("dataset", "split", "task"):
        if getattr(kept, what) != getattr(other, what):
            raise ValueError(f"{path}: {what} {getattr(other, what)!r} is not that of {name}")
    if _judge(kept) != _judge(other):
        raise ValueError(f"{path}: another judge than that of {name}")
    found = [row for row in other.rows if row.kind == "measured" and row.method == method]
    if not found:
        raise ValueError(f"{path} has no row {method!r}: {[row.method for row in other.rows]}")
    details = {"seed": other.seed, **found[0].details, "command": other.settings["command"]}
    row = replace(found[0], method=new_name, details=details)
    rows = [one for one in kept.rows if one.method != new_name]
    place = sum(one.kind == "measured" for one in rows)
    kept.rows = [*rows[:place], row, *rows[place:]]
    _forget_folders(kept)
    kept.save(KEPT / f"{name}.json")


def _judge(results: Results) -> tuple[Any, ...]:
    settings = results.settings
    return (settings.get("evaluator") or {}).get("sha256"), settings.get("judges")


def tables() -> str:
    """Return one table per kept run, in the order of their names."""
    runs: dict[str, list[Results]] = {}
    for path in sorted(KEPT.glob("*.json"), key=lambda path: path.stem):
        runs.setdefault(path.stem.partition("@")[0], []).append(Results.load(path))
    return "\n\n".join(_table(found, name.partition("-")[2]) for name, found in runs.items())


def keep_in(folder: Path, name: str, path: Path) -> None:
    """Copy the results.json of a run without the folders of the machine."""
    found = Results.load(path)
    _forget_folders(found)
    folder.mkdir(parents=True, exist_ok=True)
    found.save(folder / f"{name}.json")


def sun_tables() -> str:
    """Return one table per kept leaderboard."""
    found = sorted(KEPT_SUN.glob("*.json"))
    return "\n\n".join(_sun_table(Results.load(path)) for path in found)


def _sun_table(results: Results) -> str:
    judges = " and ".join(results.settings["judges"])
    keys = [key for key in _SUN if any(key in row.shown() for row in results.rows)]
    heads = [
        f"{results.dataset}, {judges}",
        *(_SUN_HEADS.get(key, COLUMNS[key]) for key in keys),
        "crystals",
    ]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in results.rows:
        shown = row.shown()
        cells = [_sun_cell(shown[key]) if key in shown else "" for key in keys]
        lines.append(f"| {' | '.join([row.method, *cells, str(row.details['num_samples'])])} |")
    return "\n".join(lines)


def design_tables() -> str:
    """Return one table per kept design benchmark."""
    found = sorted(KEPT_DESIGN.glob("*.json"))
    return "\n\n".join(_design_table(Results.load(path)) for path in found)


def _design_table(results: Results) -> str:
    columns, design = columns_of(results.rows), results.settings["design"]
    wanted, count = " and ".join(results.settings["wanted"]), design["seeds"]
    known = results.settings["known_at_start"]
    title = f"{results.dataset}, {wanted}; known: {known}; {count} seed{'s' * (count > 1)}"
    if given := design.get("predictors"):
        title += f"; given predictor: {', '.join(given)}"
    if within := design.get("known_within"):
        title += f"; known within {within:g}"
    heads = [title, *columns.values(), "drawn", "failed", "minutes"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in results.rows:
        found, runs = row.shown(), row.details["runs"]
        cells = [_design_cell(found[key]) if key in found else "" for key in columns]
        means = [_mean_of(runs, key) for key in ("drawn", "failed", "seconds")]
        minutes = "" if means[2] is None else f"{means[2] / 60:.0f}"
        counts = ["" if mean is None else f"{mean:,.0f}" for mean in means[:2]]
        lines.append(f"| {' | '.join([row.method, *cells, *counts, minutes])} |")
    return "\n".join(lines)


def _design_cell(found: Estimate) -> str:
    if found.low is None or found.high is None or found.low == found.high:
        return f"{found.value:.0f}"
    return f"{found.value:.0f} ({found.low:.0f}-{found.high:.0f})"


def _mean_of(runs: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [run[key] for run in runs if key in run]
    return sum(values) / len(values) if values else None


def _sun_cell(found: Estimate) -> str:
    return f"{found.value:.3f}".removeprefix("0") + _interval(found)


def write(path: Path, text: str, mark: str = BEGIN) -> None:
    """Put the tables between their marks.

    Raises:
        ValueError: If the marks are missing.
    """
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(mark)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} lacks the marks {mark} and {END}")
    path.write_text(f"{before}{mark}\n{text}\n{END}{after}", encoding="utf-8")


def _table(runs: Sequence[Results], note: str) -> str:
    first = runs[0]
    seeds = f"{len(runs)} seeds: mean (lowest-highest)" if len(runs) > 1 else ""
    title = ", ".join(part for part in (first.dataset, first.split, note, seeds) if part)
    rows: dict[tuple[str, ...], list[Row]] = {}
    for results in runs:
        for row in results.rows:
            if not (note and row.kind == "published"):
                seeded = replace(row, details={"seed": results.seed, **row.details})
                key = (row.method, row.source) if row.kind == "published" else (row.method,)
                rows.setdefault(key, []).append(seeded)
    found = columns_of([row for same in rows.values() for row in same])
    columns = grouped({key: text for key, text in found.items() if key not in _LEFT_OUT})
    heads = [title, *columns, "crystals", "seconds", "settings"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(_line(same, columns, len(runs)) for same in rows.values())])


def _line(rows: Sequence[Row], columns: Mapping[str, Sequence[str]], num_runs: int) -> str:
    """Return the line of one method, of all seeds together."""
    name = rows[0].method
    if rows[0].kind == "published":
        name, rows = f"*published:* {name}", rows[:1]  # the same number in every run
    elif len(rows) < num_runs:
        name = f"{name} ({len(rows)} of {num_runs} seeds)"
    rates = [" / ".join(_cell(rows, key) for key in keys) for keys in columns.values()]
    cells = [name, *(text if text.strip(" /") else "" for text in rates)]
    cells += [_detail(rows, "num_samples"), _detail(rows, "sampling_seconds"), _settings(rows)]
    return f"| {' | '.join(cells)} |"


def _cell(rows: Sequence[Row], key: str) -> str:
    """Return a metric: mean and extremes over seeds, or of one run the interval of SR5."""
    found = [row.shown()[key] for row in rows if key in row.shown()]
    values = [estimate.value for estimate in found if math.isfinite(estimate.value)]
    if not values:
        return ""
    text = _number(sum(values) / len(values), key)
    if len(rows) > 1:
        return f"{text} ({_number(min(values), key)}-{_number(max(values), key)})"
    return text + (_interval(found[0]) if key.startswith("sr5_") else "")


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = (f"{x:.2f}".removeprefix("0") for x in (estimate.low, estimate.high))
    return f" ({low}-{high})"


def _number(value: float, key: str) -> str:
    return f"{value:.0f}" if key in COUNTS else f"{value:.3f}".removeprefix("0")


def _detail(rows: Sequence[Row], key: str) -> str:
    """Return the mean of a number that the rows carry."""
    values = [row.details[key] for row in rows if key in row.details]
    return f"{sum(values) / len(values):,.0f}" if values else ""


def _settings(rows: Sequence[Row]) -> str:
    """Return the settings of a row of several seeds.

    Raises:
        ValueError: If they differ in more than the seed.
    """
    found = [row_settings(row) for row in rows]
    seeds = ", ".join(settings.pop("seed", "") for settings in found)
    if any(settings != found[0] for settings in found):
        raise ValueError(f"{rows[0].method}: seeds of one run with unlike settings: {found}")
    if not found[0]:
        return ""
    texts = [f"{key} {value}" for key, value in found[0].items()]
    text = ", ".join([*texts, f"seed{'s' * (len(rows) > 1)} {seeds}"])
    return text.replace("|", r"\|")


def _forget_folders(results: Results) -> None:
    results.settings = _without_folders(results.settings)
    results.rows = [
        replace(row, source=_without_folders(row.source), details=_without_folders(row.details))
        for row in results.rows
    ]


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return _ABSOLUTE.sub("", value) if isinstance(value, str) else value


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--add", action="append", default=[], metavar="NAME=FILE[,FILE]")
    parser.add_argument("--add-row", action="append", default=[], metavar="NAME=FILE:ROW[:NEW]")
    parser.add_argument("--add-sun", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--add-design", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results.md")
    args = parser.parse_args()
    for pair in args.add:
        name, _, file = pair.partition("=")
        keep(name, [Path(part) for part in file.split(",")])
    for pair in args.add_row:
        name, _, words = pair.partition("=")
        file, method, *new = words.split(":")
        add_row(name, Path(file), method, new[0] if new else method)
    for folder, pairs in ((KEPT_SUN, args.add_sun), (KEPT_DESIGN, args.add_design)):
        for pair in pairs:
            name, _, file = pair.partition("=")
            keep_in(folder, name, Path(file))
    write(args.page, tables())
    write(args.page, sun_tables(), BEGIN_SUN)
    write(args.page, design_tables(), BEGIN_DESIGN)


if __name__ == "__main__":
    main()
