"""A table that lies beside structure files: which column names the files, which row is whose."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from pyg_crysdiff.data.entries import RawEntry, ReadEntries
from pyg_crysdiff.data.formats.extxyz import frame_properties
from pyg_crysdiff.data.tables import (
    COUNTERS,
    IDENTIFIERS,
    Table,
    check_header,
    choose_properties,
    counts_rows,
    parse_table,
    row_problem,
)

# Names of columns that name files, the likeliest first.
_KEYS = (
    "file", "filename", "file_name", "cif_id", "id", "material_id", "name", "cif", "structure",
)  # fmt: skip
_SUFFIX = re.compile(r"\.(cif|vasp|poscar|extxyz|xyz)(\.(gz|bz2|xz))?(?=$|:)", re.IGNORECASE)
_VASP_RUN = re.compile(r"/(POSCAR|CONTCAR)$")


def with_table(
    entries: list[RawEntry],
    tables: dict[str, bytes],
    properties: Sequence[str] | None,
    where: str,
) -> ReadEntries:
    """Give structure files the properties of the table beside them.

    The table is the CSV of which a column names the files, with or without suffix and folder; it
    need have no header, as CGCNN's ``id_prop.csv``. A file without a row and a row without a file
    become entries with that problem; the others are read.

    Args:
        entries: Structures of the files.
        tables: Content of the CSV files, by name; not empty.
        properties: Property columns; None for all numeric columns.
        where: The folder, for messages.

    Raises:
        ValueError: If no table names the files, or several do, or two rows name one file.
    """
    keys = _keys_of(entries)
    fitting: dict[str, tuple[Table, str]] = {}
    left_out = {}
    for name, data in tables.items():
        table = parse_table(data, name)
        if (found := _with_key(table, keys)) is None:
            left_out[name] = "a table that does not name the files"
        else:
            fitting[name] = found
    if len(fitting) > 1 and properties:
        fitting = {n: f for n, f in fitting.items() if set(properties) <= set(f[0].header)}
    if len(fitting) > 1:
        raise ValueError(
            f"{where} holds several tables of its files: {', '.join(fitting)}; keep one"
        )
    if not fitting:
        first = sorted(entry.material_id for entry in entries)[:3]
        raise ValueError(
            f"no column of {', '.join(tables)} in {where} names the files ({', '.join(first)} ...)"
            + (f" and has the properties {list(properties)}" if properties else "")
            + _hint(tables, keys)
        )
    table, key = next(iter(fitting.values()))
    out = _joined(table, key, entries, keys, properties)
    return ReadEntries(out.entries, out.names, out.left_out | left_out)


def _hint(tables: dict[str, bytes], keys: dict[str, list[int]]) -> str:
    """Say where zeros in front of numbers were lost, as spreadsheets do."""
    short = {key.lstrip("0"): key for key in keys if key.lstrip("0") != key}
    for name, data in tables.items():
        cells = {cell.strip() for row in parse_table(data, name).rows for cell in row}
        if lost := sorted(cells & set(short)):
            return f"; {name} has {lost[0]!r} for {short[lost[0]]!r}: its zeros are lost"
    return ""


def _keys_of(entries: list[RawEntry]) -> dict[str, list[int]]:
    """Return what a table may call an entry -> positions of the entries that it may mean."""
    keys: dict[str, list[int]] = {}
    for k, entry in enumerate(entries):
        path, mark, number = entry.material_id.partition(":")
        names = {path, path.rsplit("/", 1)[-1]}
        if _VASP_RUN.search(path):
            folder = path.rsplit("/", 1)[0]
            names |= {folder, folder.rsplit("/", 1)[-1]}
        names |= {_SUFFIX.sub("", name) for name in names}
        for name in names | {f"{name}:{number}" for name in names if mark}:
            keys.setdefault(name, []).append(k)
    return keys


def _with_key(table: Table, keys: dict[str, list[int]]) -> tuple[Table, str] | None:
    """Return the table, with a header if it had none, and its column that names the files."""
    bare = table.without_header()
    named = _naming(bare, keys)
    if not named:
        return None
    if any(bare.cells(column)[0] in keys for column in named):
        column = _key_column(bare, keys)
        rest = [name for name in bare.header if name != column]
        names = {name: f"property_{k}" for k, name in enumerate(rest, 1)}
        names = {rest[0]: "property"} if len(rest) == 1 else names
        return Table(table.name, [names.get(n, "id") for n in bare.header], bare.rows), "id"
    check_header(table)
    chosen = _key_column(table, keys)
    return None if chosen is None else (table, chosen)


def _naming(table: Table, keys: dict[str, list[int]]) -> dict[str, int]:
    """Return the columns that name at least half as many files as the best, and how many."""
    hits = {name: len(set(table.cells(name)) & set(keys)) for name in table.header}
    most = max(hits.values(), default=0)
    return {name: count for name, count in hits.items() if count and 2 * count >= most}


def _key_column(table: Table, keys: dict[str, list[int]]) -> str | None:
    """Return the column that names most files; a counter of the rows only where no other does.

    Raises:
        ValueError: If two columns name the files equally well and mean different ones.
    """
    hits = _naming(table, keys)
    if not hits:
        return None
    cells = {name: table.cells(name) for name in hits}

    def kind(name: str) -> tuple[bool, bool, bool]:
        files = sum(bool(_SUFFIX.search(cell)) for cell in cells[name])
        counts = counts_rows(cells[name]) or name.startswith("Unnamed: ")
        return 2 * files < len(cells[name]), counts, name.lower() not in _KEYS

    def rank(name: str) -> tuple[tuple[bool, bool, bool], int, int]:
        known = _KEYS.index(name.lower()) if name.lower() in _KEYS else len(_KEYS)
        return kind(name), known, -hits[name]

    def clear(name: str) -> bool:
        # Whole numbers that happen to be names of files do not name each file once.
        bare, _, unknown = kind(name)
        return not (bare and unknown) or (
            hits[name] == max(hits.values()) and len(set(cells[name])) == len(cells[name])
        )

    first, *others = sorted([name for name in hits if clear(name)] or hits, key=rank)
    for other in others:
        if kind(other) == kind(first) and _differ(cells[first], cells[other], keys):
            raise ValueError(
                f"{table.name}: the columns {first!r} and {other!r} both name files, and not the "
                "same ones; keep the one that is meant"
            )
    return first


def _differ(one: Sequence[str], other: Sequence[str], keys: dict[str, list[int]]) -> bool:
    """Whether two columns name different files in a row."""
    both = [(keys[a], keys[b]) for a, b in zip(one, other, strict=True) if a in keys and b in keys]
    return any(not set(a) & set(b) for a, b in both)


def _joined(
    table: Table,
    key: str,
    entries: list[RawEntry],
    keys: dict[str, list[int]],
    properties: Sequence[str] | None,
) -> ReadEntries:
    columns, left_out = choose_properties(table, properties, {key: "identifier"})
    rows: dict[int, int] = {}
    problems: dict[int, str] = {}
    lost: list[RawEntry] = []
    for row, name in enumerate(table.cells(key)):
        meant = keys.get(name, [])
        if not meant:
            place = f"{table.name}, row {row}"
            problem = f"it names {name!r}, for which there is no file"
            lost.append(RawEntry("", "", place, len(entries) + len(lost), name, {}, problem))
        elif len(meant) > 1:
            shown = ", ".join(entries[k].source for k in meant[:3])
            problems |= dict.fromkeys(
                meant, f"{table.name}, row {row}: {name!r} may mean {shown}; give their full names"
            )
        elif meant[0] in rows:
            raise ValueError(
                f"{table.name}: rows {rows[meant[0]]} and {row} both name "
                f"{entries[meant[0]].source}; keep one"
            )
        else:
            rows[meant[0]] = row
    out = []
    for k, entry in enumerate(entries):
        row_of = rows.get(k)
        problem = entry.problem
        values: dict[str, float] = {}
        if row_of is not None:
            values = {n: float(c.values[row_of]) for n, c in columns.items()}
            said = row_problem(columns, row_of)
            problem = problem or (said and f"{table.name}, row {row_of}: {said}")
        elif columns:
            problem = problem or problems.get(k, f"{table.name} has no row for it")
        out.append(replace(entry, properties=values, problem=problem))
    return ReadEntries(out + lost, list(columns), left_out)


def with_own_numbers(
    entries: list[RawEntry], properties: Sequence[str] | None, where: str
) -> ReadEntries:
    """Take the numbers that stand beside each structure in its file for its properties.

    Args:
        entries: Entries of JSON (with their numbers) or extended XYZ (numbers of the comment line).
        properties: Names; None for all but identifiers and counters.
        where: The file, for messages.

    Raises:
        ValueError: If a property stands nowhere.
    """
    numbers = [_own_numbers(entry) for entry in entries]
    found = list(dict.fromkeys(name for own in numbers for name in own))
    no_property = {n: "identifier or counter" for n in found if n in (*IDENTIFIERS, *COUNTERS)}
    names = [n for n in found if n not in no_property] if properties is None else list(properties)
    if missing := [name for name in names if name not in found]:
        raise ValueError(
            f"{where} has no properties {missing}; it has {found or 'none and no CSV'}"
        )
    out = [
        replace(entry, properties={name: own.get(name, math.nan) for name in names})
        for entry, own in zip(entries, numbers, strict=True)
    ]
    return ReadEntries(out, names, {n: r for n, r in no_property.items() if n not in names})


def _own_numbers(entry: RawEntry) -> dict[str, float]:
    if entry.fmt != "extxyz":
        return entry.properties
    try:
        return frame_properties(entry.text)
    except ValueError:  # the frame cannot be read, which its parsing will say
        return {}


def without_suffix(name: str) -> str:
    """Return the name of an entry without the suffix of its file."""
    return _SUFFIX.sub("", name)
