"""A CSV file with CIF text in one of its columns, as the CDVAE repository keeps its data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyg_crysdiff.data.entries import RawEntry, ReadEntries
from pyg_crysdiff.data.tables import (
    IDENTIFIERS,
    Column,
    Table,
    check_header,
    choose_properties,
    load_table,
    row_problem,
)

_COLUMNS = ("cif", "CIF", "structure_cif", "cif_string")


def read_table(
    path: Path, properties: Sequence[str] | None = None, cif_column: str | None = None
) -> ReadEntries:
    """Read a CSV (or .csv.gz) with a CIF column.

    A column is numeric if most of what stands in it are numbers. A gap in it is NaN. A row with a
    word in it becomes an entry with that problem; the others are read.

    Args:
        path: The file.
        properties: Property columns; None for all numeric columns.
        cif_column: Column with CIF text; None to find it.

    Returns:
        One entry per row, the property names, and why the other columns are none.

    Raises:
        ValueError: If the file is empty or damaged, or a column is missing or not numeric.
    """
    table = load_table(path)
    cif, id_column = structure_columns(table, cif_column)
    taken = {cif: "structure"} | ({id_column: "identifier"} if id_column else {})
    columns, left_out = choose_properties(table, properties, taken)
    return ReadEntries(
        table_entries(table, path.name, cif, id_column, columns), list(columns), left_out
    )


def structure_columns(table: Table, cif_column: str | None = None) -> tuple[str, str | None]:
    """Return the columns of CIF text and of identifiers (None where there is none).

    Raises:
        ValueError: If there is no header, no row or no such column.
    """
    if any("_cell_length_a" in cell for cell in table.header):
        raise ValueError(f"{table.name} has no header: CIF text stands in its first row; add one")
    check_header(table)
    if not table.rows:
        raise ValueError(f"{table.name} has no rows")
    cif = cif_column or _find_cif_column(table)
    if cif is None or cif not in table.header:
        said = f"column {cif_column!r}" if cif_column else "column with CIF text"
        raise ValueError(f"{table.name} has no {said}; its columns are {table.header}")
    named = {c.lower(): c for c in reversed(table.header) if c != cif}
    return cif, next((named[name] for name in IDENTIFIERS if name in named), None)


def table_entries(
    table: Table,
    source: str,
    cif: str,
    id_column: str | None,
    columns: dict[str, Column],
    first: int = 0,
) -> list[RawEntry]:
    """Return one entry per row of a table.

    Args:
        table: The table, or some rows of it.
        source: Name of the file, for the entries.
        cif: Column with CIF text.
        id_column: Column with identifiers; None where there is none.
        columns: Property columns.
        first: Number of the first row.
    """
    rows = range(first, first + len(table.rows))
    names = table.cells(id_column) if id_column else [""] * len(rows)
    return [
        RawEntry(
            text=text,
            fmt="cif",
            source=f"{source}, row {row}",
            row=row,
            material_id=name or f"row-{row}",
            properties={key: float(c.values[row - first]) for key, c in columns.items()},
            problem=row_problem(columns, row - first),
        )
        for row, text, name in zip(rows, table.cells(cif), names, strict=True)
    ]


def _find_cif_column(table: Table) -> str | None:
    for name in _COLUMNS:
        if name in table.header:
            return name
    found = []
    for name in table.header:
        first = next((cell for cell in table.cells(name) if cell), "")
        if "_cell_length_a" in first.lower():
            found.append(name)
    if len(found) > 1:
        raise ValueError(
            f"{table.name} has several columns with CIF text: {found}; call the one that is meant "
            f"{_COLUMNS[0]!r}, or name it (cif_column)"
        )
    return found[0] if found else None
