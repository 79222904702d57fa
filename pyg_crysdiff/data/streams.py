"""Entries one after the other, for files that are larger than the memory.

CSV, extended XYZ, JSON lines and Parquet are read bit by bit, packed ones too. Other JSON, CIF and
POSCAR files, folders and archives are read whole: what is in them decides how they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from pyg_crysdiff.data.archives import is_archive, unpacked_name
from pyg_crysdiff.data.cif_tables import structure_columns, table_entries
from pyg_crysdiff.data.entries import RawEntry
from pyg_crysdiff.data.formats.extxyz import frames_of
from pyg_crysdiff.data.formats.parquet import parquet_entries
from pyg_crysdiff.data.formats.structures_json import structure_rows
from pyg_crysdiff.data.sources import entries_in, format_of, is_table
from pyg_crysdiff.data.tables import tables_of
from pyg_crysdiff.data.texts import open_text

_ROWS = 1000  # in memory at a time


def stream_entries(path: Path) -> Iterator[RawEntry]:
    """Yield one entry per crystal of a file, folder or archive, in its order.

    Args:
        path: What :func:`pyg_crysdiff.data.readers.read_crystals` reads, except tensor files.

    Raises:
        ValueError: If it is damaged, or no such file; where it is read bit by bit this may come
            after some entries.
    """
    name = path.name.lower()
    if path.is_dir() or is_archive(name):
        yield from entries_in(path) or ()
    elif is_table(name):
        yield from _table_rows(path)
    elif unpacked_name(name).endswith(".jsonl"):
        yield from _json_lines(path)
    elif name.endswith(".parquet"):
        yield from parquet_entries(path)
    elif format_of(name) == "extxyz":
        yield from _frames(path)
    else:
        found = entries_in(path)
        if found is None:
            raise ValueError(f"{path}: unknown kind of file; see read_crystals for the formats")
        yield from found


def _table_rows(path: Path) -> Iterator[RawEntry]:
    with closing(open_text(path)) as handle:
        first_line = next((line for line in handle if line != "\n"), "").rstrip("\n")
    row = 0
    with closing(open_text(path)) as handle:
        cif, id_column = "", None
        for table in tables_of(handle, first_line, str(path), _ROWS):
            if not row:
                cif, id_column = structure_columns(table)
            yield from table_entries(table, path.name, cif, id_column, {}, row)
            row += len(table.rows)


def _frames(path: Path) -> Iterator[RawEntry]:
    with closing(open_text(path)) as handle:
        frames = frames_of((line.rstrip("\n") for line in handle), path.name)
        start = list(islice(frames, 2))
        if not start:
            raise ValueError(f"{path.name} is empty: it holds no frames")
        if len(start) == 1:
            yield RawEntry(start[0], "extxyz", path.name, 0, path.name, {})
            return
        row = 0
        while start:
            for frame in start:
                place = f"{path.name}, entry {row}"
                yield RawEntry(frame, "extxyz", place, row, f"{path.name}:{row}", {})
                row += 1
            start = list(islice(frames, _ROWS))


def _json_lines(path: Path) -> Iterator[RawEntry]:
    """Yield the entries of a file with one JSON value per line; a bad line is a bad entry."""
    with closing(open_text(path)) as handle:
        lines = (line for line in handle if line.strip())
        row = 0
        while some := list(islice(lines, _ROWS)):
            values, problems = [], []
            for line in some:
                try:
                    values.append(json.loads(line))
                    problems.append("")
                except (ValueError, RecursionError) as error:
                    values.append(None)
                    problems.append(f"not valid JSON ({error})")
            for found, problem in zip(
                structure_rows(values, str(path), row), problems, strict=True
            ):
                place = f"{path.name}, entry {row}"
                entry = RawEntry(found.text, found.fmt, place, row, found.name, found.properties)
                yield replace(entry, problem=problem) if problem else entry
                row += 1
