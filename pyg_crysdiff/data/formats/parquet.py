"""Parquet tables of crystals, read some rows at a time (needs ``pyarrow``).

Layouts: a column of CIF text; a column of pymatgen structures as JSON text; or the columns
``lattice_vectors``, ``species_at_sites`` and ``cartesian_site_positions`` of LeMaterial's sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.data.entries import RawEntry
from pyg_crysdiff.data.formats.structures_json import structure_text
from pyg_crysdiff.errors import first_line

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS = ("cif", "structure", "final_structure", "structure_cif", "cif_string")
_PARTS = ("lattice_vectors", "species_at_sites", "cartesian_site_positions")
_NAMES = ("material_id", "immutable_id", "id", "mat_id", "name", "mp_id", "jid")
_ROWS = 1000  # in memory at a time


def parquet_entries(path: Path) -> Iterator[RawEntry]:
    """Yield one entry per row; a row without a structure has its problem.

    Raises:
        ModuleNotFoundError: If pyarrow is not installed.
        ValueError: If the file is damaged, or has no column with structures.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: Parquet files need pyarrow; install it (pip install pyarrow), or write the "
            "table as CSV"
        ) from error
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            columns, name = _columns(file.schema_arrow, path)
            wanted = [*columns, *([name] if name else [])]
            for batch in file.iter_batches(batch_size=_ROWS, columns=wanted):
                for values in batch.to_pylist():
                    yield _entry(values, columns, name, path, row)
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {first_line(error)}") from error


def _columns(schema: pa.Schema, path: Path) -> tuple[tuple[str, ...], str | None]:
    """Return the columns of the structure, and that of identifiers."""
    names = list(schema.names)
    texts = [name for name in _TEXTS if name in names]
    columns = _PARTS if set(_PARTS) <= set(names) else tuple(texts[:1])
    if not columns:
        raise ValueError(
            f"{path} has no column with structures ({', '.join(_TEXTS)}, or "
            f"{', '.join(_PARTS)}); its columns are {names}"
        )
    return columns, next((name for name in _NAMES if name in names), None)


def _entry(
    values: dict[str, Any], columns: tuple[str, ...], name: str | None, path: Path, row: int
) -> RawEntry:
    text, fmt, problem = "", "json", ""
    if any(values[column] is None for column in columns):
        problem = "the row holds no structure"
    elif columns == _PARTS:
        text = structure_text(*(values[column] for column in columns))
    else:
        value = values[columns[0]]
        text = value if isinstance(value, str) else json.dumps(value)
        fmt = "cif" if "_cell_length_a" in text else "json"
    known = None if name is None else values[name]
    identifier = f"row-{row}" if known is None else str(known)
    return RawEntry(text, fmt, f"{path.name}, row {row}", row, identifier, {}, problem)
