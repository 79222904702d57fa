"""From files to crystals: tables with a CIF column, folders of structure files; in parallel."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.parallel import parallel_map

STRUCTURE_SUFFIXES = (".cif", ".vasp", ".poscar", ".extxyz", ".xyz")


@dataclass(frozen=True)
class RawEntry:
    """One crystal before parsing.

    Attributes:
        text: Content of a structure file.
        fmt: ``cif``, ``poscar`` or ``extxyz``.
        source: File, and row where there is one.
        row: Number of the entry in its file, from 0.
        material_id: Identifier.
        properties: Scalar properties as read.
    """

    text: str
    fmt: str
    source: str
    row: int
    material_id: str
    properties: dict[str, float]


@dataclass(frozen=True)
class ReadEntries:
    """What a table or folder holds, before parsing; unpacks as ``entries, names``.

    Attributes:
        entries: One per crystal; a property with a gap is NaN.
        names: Property columns.
        left_out: Other columns, with the reason why they are no properties.
    """

    entries: list[RawEntry]
    names: list[str]
    left_out: dict[str, str]

    def __iter__(self) -> Iterator[Any]:
        yield from (self.entries, self.names)


def canonical(crystal: Crystal, *, niggli: bool = True, primitive: bool = False) -> Crystal:
    """Return the crystal in the Niggli cell and pymatgen's standard orientation.

    The lattice is rebuilt from its lengths and angles, so that equal cells have equal matrices
    whatever the file's orientation (CDVAE's ``build_crystal``: niggli true, primitive false).

    Args:
        crystal: Any crystal.
        niggli: Reduce the cell.
        primitive: Reduce to a primitive cell first.

    Raises:
        ValueError: If the cell is hundreds of times longer than wide.
    """
    if not crystal.reducible:
        raise ValueError("the cell is too flat or too long to be a crystal's")
    structure = crystal.to_structure()
    if primitive:
        structure = structure.get_primitive_structure()
    if niggli:
        structure = structure.get_reduced_structure()
    numbers = [site.specie.Z for site in structure]
    return Crystal.from_parameters(
        structure.lattice.abc,
        structure.lattice.angles,
        structure.frac_coords % 1.0,
        numbers,
        crystal.info,
    )


def parse_text(text: str, fmt: str) -> Crystal:
    """Parse one structure file's content.

    Raises:
        ValueError: If it cannot be read, is empty, disordered or not finite.
    """
    from pymatgen.core import Structure  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if fmt == "extxyz":
                crystal = _parse_extxyz(text)
            else:
                if fmt == "poscar":
                    _check_poscar_counts(text)
                crystal = Crystal.from_structure(Structure.from_str(text, fmt=fmt))  # type: ignore[arg-type]
    except Exception as error:  # parsers of text from outside raise whatever they meet
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ValueError(f"cannot read the {fmt} text: {reason}") from error
    if len(crystal) == 0:
        raise ValueError("the structure has no atoms")
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all()):
        raise ValueError("a coordinate or lattice vector is not finite")
    return crystal


def _parse_extxyz(text: str) -> Crystal:
    from io import StringIO  # noqa: PLC0415

    from ase import Atoms  # noqa: PLC0415
    from ase.io import read  # noqa: PLC0415

    lines = text.splitlines()
    said, there = int(lines[0]), len(lines) - 2
    if said > there:  # ASE would go on counting to whatever number stands there
        raise ValueError(f"the frame says {said} atoms, but {there} lines follow")
    atoms = read(StringIO(text), format="extxyz", index=0)
    assert isinstance(atoms, Atoms)
    if not all(atoms.pbc):
        raise ValueError("not periodic in three dimensions")
    return Crystal(atoms.cell.array, atoms.get_scaled_positions(wrap=False), atoms.numbers)


def _check_poscar_counts(text: str) -> None:
    """Refuse counts beyond the lines that follow: pymatgen would make lists of that length."""
    lines = text.splitlines()
    for line in lines[5:7]:  # VASP 4 and 5 differ in where the counts stand
        said = [int(word) for word in line.split() if word.isdigit()]
        if sum(said) > len(lines):
            raise ValueError(f"the file says {sum(said)} atoms, but has {len(lines)} lines")


def _convert(entry: RawEntry, *, niggli: bool, primitive: bool) -> Crystal | str:
    for name, value in entry.properties.items():
        if not math.isfinite(value):
            return f"property {name!r} is {value}"
    try:
        crystal = parse_text(entry.text, entry.fmt)
        crystal = canonical(crystal, niggli=niggli, primitive=primitive)
    except Exception as error:  # pymatgen's reductions fail in many ways on bad cells
        return (str(error).splitlines() or [""])[0] or type(error).__name__
    info = {"material_id": entry.material_id, "row": entry.row, **entry.properties}
    return Crystal(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers, info)


def _parse(entry: RawEntry) -> Crystal | str:
    try:
        crystal = parse_text(entry.text, entry.fmt)
    except ValueError as error:
        return str(error)
    info = {"material_id": entry.material_id}
    return Crystal(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers, info)


def _numbered(
    entries: Sequence[RawEntry], results: Sequence[Crystal | str]
) -> list[Crystal | BrokenEntry]:
    return [
        BrokenEntry(index, result, entry.source) if isinstance(result, str) else result
        for index, (entry, result) in enumerate(zip(entries, results, strict=True))
    ]


def parse_entries(
    entries: Sequence[RawEntry],
    *,
    num_workers: int | None = None,
    progress: bool = True,
    label: str = "reading",
) -> list[Crystal | BrokenEntry]:
    """Parse entries as they are, on all cores; a broken one stands in its place.

    Args:
        entries: What to parse.
        num_workers: Processes; None for all cores; 0 or 1 for none.
        progress: Show a progress bar.
        label: Text of the progress bar.
    """
    options: dict[str, Any] = {"num_workers": num_workers, "progress": progress, "label": label}
    return _numbered(entries, parallel_map(_parse, entries, **options))


def convert_entries(
    entries: Sequence[RawEntry],
    *,
    niggli: bool = True,
    primitive: bool = False,
    num_workers: int | None = None,
    progress: bool = True,
    label: str = "parsing",
) -> tuple[list[Crystal], list[BrokenEntry]]:
    """Parse and reduce entries on all cores, in order; what fails is reported, not raised.

    Args:
        entries: What to parse.
        niggli: See :func:`canonical`.
        primitive: See :func:`canonical`.
        num_workers: See :func:`parse_entries`.
        progress: See :func:`parse_entries`.
        label: See :func:`parse_entries`.
    """
    work = partial(_convert, niggli=niggli, primitive=primitive)
    options: dict[str, Any] = {"num_workers": num_workers, "progress": progress, "label": label}
    results = _numbered(entries, parallel_map(work, entries, **options))
    crystals = [r for r in results if isinstance(r, Crystal)]
    return crystals, [r for r in results if isinstance(r, BrokenEntry)]


def read_table(
    path: Path, properties: Sequence[str] | None = None, cif_column: str | None = None
) -> ReadEntries:
    """Read a CSV (or .csv.gz) with a CIF column.

    Args:
        path: The file.
        properties: Property columns; None for all numeric columns.
        cif_column: Column with CIF text; None to find it.

    Returns:
        One entry per row and the property names.

    Raises:
        ValueError: If the file is empty or damaged, or a column is missing or not numeric.
    """
    try:
        table = pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read as CSV: {error}") from error
    if table.empty:
        raise ValueError(f"{path} has no rows")
    columns = [str(c) for c in table.columns]
    cif = cif_column or _find_cif_column(table)
    if cif is None or cif not in columns:
        wanted = f"column {cif_column!r}" if cif_column else "column with CIF text"
        raise ValueError(f"{path} has no {wanted}; its columns are {columns}")
    names = list(properties) if properties is not None else _numeric(table, {cif})
    if missing := [name for name in names if name not in columns]:
        raise ValueError(f"{path} has no property columns {missing}; its columns are {columns}")
    for name in names:
        if not pd.api.types.is_numeric_dtype(table[name]):
            bad = pd.to_numeric(table[name], errors="coerce").isna() & table[name].notna()
            if bad.any():
                row = int(np.flatnonzero(bad.to_numpy())[0])
                raise ValueError(
                    f"{path}, row {row}: property {name!r} is {table[name].iloc[row]!r}, "
                    "not a number"
                )
    id_column = next((c for c in ("material_id", "id", "name") if c in columns and c != cif), None)
    ids = (
        table[id_column].astype(str) if id_column else pd.Series([f"row-{i}" for i in table.index])
    )
    values = {name: pd.to_numeric(table[name]).to_numpy(dtype=float) for name in names}
    entries = [
        RawEntry(
            text=text if isinstance(text, str) else "",
            fmt="cif",
            source=f"{path.name}, row {row}",
            row=row,
            material_id=material_id,
            properties={name: float(column[row]) for name, column in values.items()},
        )
        for row, (text, material_id) in enumerate(zip(table[cif], ids, strict=True))
    ]
    return ReadEntries(entries, names, {})


def read_folder(path: Path, properties: Sequence[str] | None = None) -> ReadEntries:
    """Read a folder of CIF, POSCAR or extxyz files (one structure each).

    Scalar properties come from a CSV in the same folder, whose first column holds file names
    (with or without suffix).

    Raises:
        ValueError: If there is no structure file, a property column is missing, or a file has
            no row in the table.
    """
    files = sorted(
        f for f in path.iterdir() if f.suffix.lower() in STRUCTURE_SUFFIXES or _is_poscar(f)
    )
    if not files:
        raise ValueError(f"{path} holds no structure files ({', '.join(STRUCTURE_SUFFIXES)})")
    tables = sorted(path.glob("*.csv"))
    values: dict[str, dict[str, float]] = {}
    names: list[str] = []
    if tables:
        table = pd.read_csv(tables[0], index_col=0)
        table.index = table.index.astype(str)
        names = list(properties) if properties is not None else _numeric(table, set())
        if missing := [name for name in names if name not in table.columns]:
            raise ValueError(
                f"{tables[0]} has no property columns {missing}; it has {list(table.columns)}"
            )
        values = {str(key): {n: float(row[n]) for n in names} for key, row in table.iterrows()}
    elif properties:
        raise ValueError(f"{path} has no CSV file with the properties {list(properties)}")
    entries: list[RawEntry] = []
    for file in files:
        own = values.get(file.name, values.get(file.stem, {}))
        if names and not own:
            raise ValueError(f"{tables[0]} has no row for the file {file.name}")
        fmt = {".cif": "cif", ".extxyz": "extxyz", ".xyz": "extxyz"}.get(
            file.suffix.lower(), "poscar"
        )
        text = file.read_text(encoding="utf-8", errors="replace")
        entries.append(RawEntry(text, fmt, file.name, len(entries), file.stem, own))
    return ReadEntries(entries, names, {})


def read_entries(
    path: Path, properties: Sequence[str] | None = None, cif_column: str | None = None
) -> ReadEntries:
    """Read a CSV file or a folder of structure files; see the two functions above.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If it is neither, or its content is bad.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}")
    if path.is_dir():
        return read_folder(path, properties)
    if path.name.endswith((".csv", ".csv.gz")):
        return read_table(path, properties, cif_column)
    raise ValueError(f"{path} is neither a .csv or .csv.gz file nor a folder of structure files")


def _find_cif_column(table: pd.DataFrame) -> str | None:
    for name in ("cif", "CIF", "structure_cif", "cif_string"):
        if name in table.columns:
            return name
    for name in table.columns:
        first = table[name].dropna().head(1)
        if len(first) and isinstance(first.iloc[0], str) and "_cell_length_a" in first.iloc[0]:
            return str(name)
    return None


def _numeric(table: pd.DataFrame, skip: set[str]) -> list[str]:
    return [
        str(c)
        for c in table.columns
        if c not in skip
        and c not in ("material_id", "id", "split")
        and not str(c).startswith("Unnamed")
        and pd.api.types.is_numeric_dtype(table[c])
        and table[c].notna().all()
    ]


def _is_poscar(file: Path) -> bool:
    return file.is_file() and file.name.upper().startswith(("POSCAR", "CONTCAR"))
