"""Tables of properties: the cells of a CSV, and which columns are properties."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyg_crysdiff._renamed import moved
from pyg_crysdiff.data.archives import read_file
from pyg_crysdiff.data.texts import decode

IDENTIFIERS = ("material_id", "id", "name")
COUNTERS = ("index", "level_0", "row", "no", "nr", "number", "#")
_GAPS = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "-", "?", "."))
_MOST_COLUMNS = 10_000
_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Column:
    """A column as numbers.

    Attributes:
        values: One per row; NaN for a gap and for a word.
        words: Row number -> what stands there, where it is neither a number nor a gap.
    """

    values: NDArray[np.float64]
    words: dict[int, str]

    @property
    def is_numeric(self) -> bool:
        """Whether most of what stands in it are numbers."""
        gaps = int(np.isnan(self.values).sum()) - len(self.words)
        return len(self.values) - gaps > 2 * len(self.words)


@dataclass
class Table:
    """A CSV file as text, so that ``001`` stays ``001`` and ``NA`` is a name.

    Attributes:
        name: The file, for messages.
        header: Names of the columns; a column without a name is ``Unnamed: k``.
        rows: Cells by row.
    """

    name: str
    header: list[str]
    rows: list[list[str]]

    def cells(self, column: str) -> list[str]:
        """Return a column's cells.

        Raises:
            ValueError: If there is no such column.
        """
        if column not in self.header:
            raise ValueError(f"{self.name} has no column {column!r}; its columns are {self.header}")
        k = self.header.index(column)
        return [row[k].strip() for row in self.rows]

    def without_header(self) -> Table:
        """Take the first row for data; the columns are called by their number."""
        first = ["" if name.startswith("Unnamed: ") else name for name in self.header]
        return Table(self.name, [f"column_{k}" for k in range(len(first))], [first, *self.rows])

    def numbers(self, column: str) -> Column:
        """Return a column as numbers; true and false are 1 and 0."""
        cells = self.cells(column)
        said = {cell.lower() for cell in cells} - _GAPS
        truth = bool(said) and said <= set(_TRUTH)
        values = np.full(len(cells), math.nan)
        words: dict[int, str] = {}
        for k, cell in enumerate(cells):
            if cell.lower() in _GAPS:
                continue
            try:
                values[k] = _TRUTH[cell.lower()] if truth else float(cell.replace("_", "word"))
            except ValueError:
                words[k] = cell[:60]
        return Column(values, words)


def load_table(path: Path) -> Table:
    """Read a CSV file (comma, semicolon or tab; any usual encoding; perhaps packed).

    Raises:
        ValueError: If it is damaged or empty, or two columns have one name.
    """
    return parse_table(read_file(path), str(path))


def parse_table(data: bytes, name: str) -> Table:
    """Read the content of a CSV file; see :func:`load_table`."""
    text = decode(data, name)
    first = text.lstrip("\n").split("\n", 1)[0]
    return next(tables_of(StringIO(text), first, name))


def tables_of(
    handle: TextIO, first_line: str, name: str, rows_each: int | None = None
) -> Iterator[Table]:
    """Yield a CSV file as one table, or as tables of some rows each, which have the same header.

    Args:
        handle: The text, from its start.
        first_line: Its first line that is not empty, which tells the separator.
        name: The file, for messages.
        rows_each: Rows of a table; None for all in one.

    Raises:
        ValueError: If it is damaged or empty.
    """
    separator = max(",;\t", key=first_line.count)
    if first_line.count(separator) > _MOST_COLUMNS:
        raise ValueError(f"{name} has more than {_MOST_COLUMNS} columns, which is not read")
    header: list[str] = []
    try:
        frames = pd.read_csv(
            handle, header=None, dtype=str, na_filter=False, sep=separator, skipinitialspace=True,
            iterator=True,
        )  # fmt: skip
        while True:
            try:
                frame = frames.get_chunk(rows_each)
            except StopIteration:
                return
            rows = [[str(cell) for cell in row] for row in frame.fillna("").to_numpy()]
            if not header:
                header = [cell.strip() or f"Unnamed: {k}" for k, cell in enumerate(rows.pop(0))]
            yield Table(name, header, rows)
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise ValueError(f"{name} cannot be read as CSV: {error}") from error


def check_header(table: Table) -> None:
    """Refuse two columns of one name, of which one would be lost.

    Raises:
        ValueError: If there are such.
    """
    double = sorted({name for name in table.header if table.header.count(name) > 1})
    if double:
        raise ValueError(f"{table.name} has more than one column {double[0]!r}; rename one")


def choose_properties(
    table: Table, wanted: Sequence[str] | None, taken: dict[str, str]
) -> tuple[dict[str, Column], dict[str, str]]:
    """Return the property columns, and why the other columns are none.

    Args:
        table: The table.
        wanted: Names; None for all numeric columns that are no identifiers or counters.
        taken: Columns that are something else, with what they are.

    Raises:
        ValueError: If a wanted column is missing or most of it are no numbers.
    """
    if wanted is not None:
        if missing := [name for name in wanted if name not in table.header]:
            raise ValueError(
                f"{table.name} has no property columns {missing}; its columns are {table.header}"
            )
        columns = {name: table.numbers(name) for name in wanted}
        for name, column in columns.items():
            if column.words and not column.is_numeric:
                row, word = next(iter(column.words.items()))
                raise ValueError(
                    f"{table.name}, row {row}: property {name!r} is {word!r}, not a number, like "
                    "most of this column"
                )
        return columns, {n: taken.get(n, "not asked for") for n in table.header if n not in columns}
    columns, left_out = {}, {}
    for name in table.header:
        column = table.numbers(name)
        reason = taken.get(name) or _no_property(name, column)
        if reason:
            left_out[name] = reason
        else:
            columns[name] = column
    return columns, left_out


def _no_property(name: str, column: Column) -> str:
    if name.lower() in IDENTIFIERS:
        return "identifier"
    if name.lower() == "split":
        return "name of the split"
    if name.startswith("Unnamed: "):
        return "row counter" if _counts(column) else "column without a name"
    if name.lower() in COUNTERS and _counts(column):
        return "row counter"
    if np.isnan(column.values).all() and not column.words:
        return "empty"
    return "" if column.is_numeric else "not numeric"


def _counts(column: Column) -> bool:
    return _counts_up(column.values)


def counts_rows(cells: Sequence[str]) -> bool:
    """Whether the cells of a column are 0, 1, 2 ... or 1, 2, 3 ..."""
    try:
        return _counts_up(np.array([float(cell) for cell in cells]))
    except ValueError:
        return False


def _counts_up(values: np.ndarray) -> bool:
    return bool(len(values)) and any(
        np.array_equal(values, np.arange(start, start + len(values))) for start in (0, 1)
    )


def row_problem(columns: dict[str, Column], row: int) -> str:
    """Say which cell of a row is a word where a number must be; empty if none is."""
    for name, column in columns.items():
        if row in column.words:
            return f"property {name!r} is {column.words[row]!r}, not a number"
    return ""


def __getattr__(name: str) -> Any:
    return moved(__name__, {"read_table": "pyg_crysdiff.data.cif_tables.read_table"}, name)
