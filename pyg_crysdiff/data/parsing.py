"""From files to crystals: what they hold is read, parsed on all cores and reduced."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyg_crysdiff.data.archives import is_archive, members_of, unpack
from pyg_crysdiff.data.cif_tables import read_table
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.entries import RawEntry, ReadEntries
from pyg_crysdiff.data.folder_tables import with_own_numbers, with_table, without_suffix
from pyg_crysdiff.data.formats.cif import cif_crystal
from pyg_crysdiff.data.formats.extxyz import frame_crystal
from pyg_crysdiff.data.formats.poscar import poscar_crystal
from pyg_crysdiff.data.formats.species import check_species
from pyg_crysdiff.data.formats.structures_json import json_crystal
from pyg_crysdiff.data.sources import entries_in, is_table, structure_entries
from pyg_crysdiff.errors import first_line
from pyg_crysdiff.parallel import parallel_map

log = logging.getLogger(__name__)
_LONGEST_REASON = 300  # signs: a message may quote the text that it is about


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
    if np.linalg.det(crystal.lattice) < 0:
        crystal = crystal.oriented()  # lengths and angles alone would make its mirror image
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


_FORMATS: dict[str, Callable[[str], Crystal]] = {
    "cif": cif_crystal,
    "poscar": poscar_crystal,
    "extxyz": frame_crystal,
    "json": json_crystal,
}


def parse_text(text: str, fmt: str) -> Crystal:
    """Parse one structure's text.

    What is odd, but leaves the crystal as it is stated, comes as a Python warning.

    Args:
        text: The text.
        fmt: ``cif``, ``poscar``, ``extxyz`` or ``json``.

    Raises:
        ValueError: If it cannot be read, is empty, disordered, not periodic, not finite or no
            crystal of elements.
    """
    try:
        crystal = _FORMATS[fmt](text)
    except Exception as error:  # parsers of text from outside raise whatever they meet
        raise ValueError(f"cannot read the {fmt} text: {_one_line(error)}") from error
    check_species(crystal.atomic_numbers)
    if not crystal.is_finite:
        raise ValueError("a coordinate or lattice vector is not finite")
    return crystal


def _one_line(error: Exception) -> str:
    reason = first_line(error).strip()[:_LONGEST_REASON]
    return f"{type(error).__name__} {reason}" if isinstance(error, KeyError) else reason


@dataclass(frozen=True)
class _Parsed:
    """A crystal, or why there is none; and what was odd about its text."""

    crystal: Crystal | None
    reason: str = ""
    notes: tuple[str, ...] = ()


def _parse(entry: RawEntry, reduce: Callable[[Crystal], Crystal] | None = None) -> _Parsed:
    if entry.problem:
        return _Parsed(None, entry.problem)
    for name, value in entry.properties.items():
        if math.isinf(value):
            return _Parsed(None, f"property {name!r} is {value}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            crystal = parse_text(entry.text, entry.fmt)
        except ValueError as error:
            return _Parsed(None, str(error))
    notes = tuple(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    if reduce is None:
        info: dict[str, Any] = {"material_id": entry.material_id}
    else:
        info = {"material_id": entry.material_id, "row": entry.row, **entry.properties}
        try:
            crystal = reduce(crystal)
        except Exception as error:  # pymatgen's reductions fail in many ways on bad cells
            return _Parsed(None, _one_line(error))
    made = Crystal(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers, info)
    return _Parsed(made, notes=notes)


def _finished(
    entries: Sequence[RawEntry], results: Sequence[_Parsed]
) -> list[Crystal | BrokenEntry]:
    noted = [(e.source, p.notes[0]) for e, p in zip(entries, results, strict=True) if p.notes]
    if noted:
        source, note = noted[0]
        log.warning(
            "%d of %d entries read with a warning, first: %s: %s",
            len(noted), len(entries), source, note,
        )  # fmt: skip
    return [
        BrokenEntry(index, parsed.reason, entry.source)
        if parsed.crystal is None
        else parsed.crystal
        for index, (entry, parsed) in enumerate(zip(entries, results, strict=True))
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
    return _finished(entries, parallel_map(_parse, entries, **options))


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

    A property with a gap stays NaN in the crystal's ``info``; an infinite one breaks the entry.

    Args:
        entries: What to parse.
        niggli: See :func:`canonical`.
        primitive: See :func:`canonical`.
        num_workers: See :func:`parse_entries`.
        progress: See :func:`parse_entries`.
        label: See :func:`parse_entries`.
    """
    work = partial(_parse, reduce=partial(canonical, niggli=niggli, primitive=primitive))
    options: dict[str, Any] = {"num_workers": num_workers, "progress": progress, "label": label}
    results = _finished(entries, parallel_map(work, entries, **options))
    crystals = [r for r in results if isinstance(r, Crystal)]
    return crystals, [r for r in results if isinstance(r, BrokenEntry)]


def read_folder(path: Path, properties: Sequence[str] | None = None) -> ReadEntries:
    """Read a folder, zip or tar of structure files, and the table of properties in it.

    See :func:`pyg_crysdiff.data.sources.structure_entries` for which files are read and
    :func:`pyg_crysdiff.data.folder_tables.with_table` for the CSV. Without a CSV the numbers in
    the comment lines of extended XYZ are the properties.

    Raises:
        ValueError: If there is no structure file, or a property or its table is missing.
    """
    members = members_of(path)
    entries = structure_entries(members, str(path))
    tables = {
        m.name: unpack(m.read(), m.name)
        for m in members
        if m.name.lower().endswith((".csv", ".csv.gz"))
    }
    found = (
        with_table(entries, tables, properties, str(path))
        if tables
        else with_own_numbers(entries, properties, str(path))
    )
    named = [replace(e, material_id=without_suffix(e.material_id)) for e in found.entries]
    return ReadEntries(named, found.names, found.left_out)


def read_entries(
    path: Path, properties: Sequence[str] | None = None, cif_column: str | None = None
) -> ReadEntries:
    """Read what a model can be trained on: a table, structure files, or an archive of them.

    Args:
        path: A CSV with a CIF column; a folder, zip or tar (see :func:`read_folder`); a file of
            structures (CIF, POSCAR, extended XYZ, JSON, ASE's ``.traj`` and ``.db``), whose own
            numbers are the properties.
        properties: Property columns; None for all numeric columns.
        cif_column: Column with CIF text of a CSV; None to find it.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If it is something else, or its content is bad.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}")
    if path.is_dir() or is_archive(path.name):
        return read_folder(path, properties)
    if is_table(path.name):
        return read_table(path, properties, cif_column)
    if (entries := entries_in(path)) is not None:
        return with_own_numbers(entries, properties, str(path))
    raise ValueError(
        f"{path} is no data to train on: give a .csv or .csv.gz with a CIF column, a folder or "
        "archive of structure files, or a CIF, extxyz, JSON, .traj or .db file"
    )
