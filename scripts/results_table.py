"""Write the success rates of docs/results.md from the results of benchmark runs.

    python scripts/results_table.py --add carbon24=runs/benchmark-carbon24/results.json
    python scripts/results_table.py          # tables anew from benchmarks/results/*.json

``--add`` keeps a copy of a run's results.json in ``benchmarks/results/``, with the folders of the
machine taken out of its paths. What follows the first dash of a name, as in ``carbon24-focused``,
stands in the head of its table, which leaves the published rows to the first one. Published rates
have a column of their own, since each paper defines its rate in its own way.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyg_crysdiff.evaluation.results import Results, Row

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- success rates: made by scripts/results_table.py -->", "<!-- end of table -->"
_ABSOLUTE = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)+(?=[\w.+-])")
_COLUMNS = (
    "strict SR5 (95 %) / SR10 / SR15", "best of ten draws", "published, by its own definition",
    "valid", "unique", "novel", "crystals, seconds",
)  # fmt: skip
_HEAD = f"| {{}} | {' | '.join(_COLUMNS)} |\n|{'---|' * (len(_COLUMNS) + 1)}"


def keep(name: str, path: Path) -> None:
    """Copy a results.json without the folders of the machine."""
    results = Results.load(path)
    results.settings = _without_folders(results.settings)
    results.rows = [
        replace(row, source=_without_folders(row.source), details=_without_folders(row.details))
        for row in results.rows
    ]
    results.save(KEPT / f"{name}.json")


def tables() -> str:
    """Return one table per kept result, in the order of their names."""
    files = sorted(KEPT.glob("*.json"), key=lambda path: path.stem)
    return "\n\n".join(_table(Results.load(path), path.stem.partition("-")[2]) for path in files)


def write(path: Path, text: str) -> None:
    """Put the tables between their marks.

    Raises:
        ValueError: If the marks are missing.
    """
    page = path.read_text(encoding="utf-8")
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} lacks the marks {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _table(results: Results, note: str) -> str:
    title = ", ".join(part for part in (results.dataset, results.split, note) if part)
    lines = [_HEAD.format(title)]
    lines += [_line(row) for row in results.rows if not (note and row.kind == "published")]
    return "\n".join(lines)


def _line(row: Row) -> str:
    def value(key: str) -> str:
        found = row.metrics.get(key)
        return "" if found is None else f"{found.value:.3f}".removeprefix("0")

    def rates(kind: str) -> str:
        values = [value(f"sr{p}_{kind}") for p in (5, 10, 15)]
        first = row.metrics.get(f"sr5_{kind}")
        if first is not None and first.low is not None and first.high is not None:
            ends = [f"{x:.2f}".removeprefix("0") for x in (first.low, first.high)]
            values[0] += f" ({ends[0]}-{ends[1]})"
        return " / ".join(values) if any(values) else ""

    # Ten neighbours of a sorted list are not ten candidates of one start.
    best = "" if row.is_ranked else " / ".join(value(f"sr{p}_best10") for p in (5, 10, 15))
    best = best if best.strip(" /") else ""
    published = row.kind == "published"
    many = row.details.get("num_samples", "")
    if "candidates" in row.details:
        many = f"{many} of {row.details['candidates']}"
    if "sampling_seconds" in row.details:
        many = f"{many}, {row.details['sampling_seconds']:.0f}"
    cells = [
        f"*published:* {row.method}" if published else row.method, rates("strict"),
        "" if published else best, best if published else "", value("valid"), value("uniqueness"),
        value("novelty"), str(many),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return _ABSOLUTE.sub("", value) if isinstance(value, str) else value


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--add", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results.md")
    args = parser.parse_args()
    for pair in args.add:
        name, _, file = pair.partition("=")
        keep(name, Path(file))
    write(args.page, tables())


if __name__ == "__main__":
    main()
