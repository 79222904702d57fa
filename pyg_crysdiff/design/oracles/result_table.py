"""Results of jobs in a CSV file that people and programs write."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from pyg_crysdiff.data.texts import decode

log = logging.getLogger(__name__)
_AT_REST = 10.0  # seconds after which a last line without an end is taken for whole


@dataclass(frozen=True)
class Row:
    """A row of a table of results.

    Attributes:
        where: File and line, for messages.
        values: Column to number, or to text where it is none; empty cells are left out.
    """

    where: str
    values: dict[str, Any]


def read_table(file: Path, keys: Sequence[str]) -> tuple[dict[str, Row], list[str]]:
    """Return the rows of some keys, and what is wrong with others; nothing without a file.

    Columns are parted by commas or semicolons. A key that has lost its zeros, as spreadsheets do
    it to ``00017``, is known by its number. Rows with nothing but a key are left out, and so is a
    last line that is just being written.

    Args:
        file: The table; its first line names the columns, among them ``key``.
        keys: Keys of the wanted rows.
    """
    if not file.is_file() or not (text := _whole_lines(file)):
        return {}, []
    first = text.partition("\n")[0]
    table = csv.reader(
        StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ","
    )
    head = [cell.strip() for cell in next(table)]
    if "key" not in head:
        return {}, [f"{file}: its first line needs a column key; it names {', '.join(head)}"]
    known = {str(int(key)): key for key in keys if key.isdecimal()} | {key: key for key in keys}
    found: dict[str, Row | None] = {}  # None where there are two
    mistakes: list[str] = []
    for cells in table:
        values = {n: c.strip() for n, c in zip(head, cells, strict=False) if c.strip()}
        given, where = values.pop("key", ""), f"{file}, line {table.line_num}"
        key = known.get(given) or known.get(str(int(given)) if given.isdecimal() else "")
        if key is None or not values:
            continue
        if any(cell.strip() for cell in cells[len(head) :]):
            mistakes.append(f"{where}: it has {len(cells)} cells, and the first line {len(head)}")
        elif key in found:
            mistakes.append(f"{where}: {key} has a row already; leave one of them")
            found[key] = None
        else:
            numbers = {n: v if n == "problem" else _number(v) for n, v in values.items()}
            found[key] = Row(where, numbers)
    return {key: row for key, row in found.items() if row is not None}, mistakes


def _whole_lines(file: Path) -> str:
    """Return the text of a file, without a last line that may still grow."""
    text = decode(file.read_bytes(), str(file))
    whole, end, last = text.rpartition("\n")
    if last and time.time() - file.stat().st_mtime < _AT_REST:
        log.warning("%s: its last line has no end yet, and is read next time", file)
        return whole + end
    return text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
