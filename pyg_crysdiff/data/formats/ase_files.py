"""ASE's trajectories (``.traj``) and SQLite databases (``.db``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pyg_crysdiff.data.entries import RawEntry
from pyg_crysdiff.data.formats.extxyz import single_numbers
from pyg_crysdiff.data.formats.structures_json import structure_text
from pyg_crysdiff.errors import first_line

if TYPE_CHECKING:
    from ase import Atoms

_STARTS = {".traj": b"- of Ulm", ".db": b"SQLite format 3\0"}
_NAMES = ("material_id", "mp_id", "jid", "name")  # key-value pairs that may identify a row


def is_ase(name: str) -> bool:
    """Whether a name is that of a trajectory or database of ASE."""
    return Path(name.lower()).suffix in _STARTS


def ase_entries(path: Path) -> Iterator[RawEntry]:
    """Yield one entry per frame or row, in the order of the file.

    Its properties are the numbers beside the atoms: ``info`` and results of the calculator in a
    trajectory, key-value pairs and results in a database. ``energy`` is that of the whole cell in
    eV, as ASE defines it. Nothing in the file is executed: trajectories of ASE before 3.10, which
    are pickles, are refused.

    Raises:
        ValueError: If the file is damaged, or of another kind than its name says.
    """
    suffix = path.suffix.lower()
    with path.open("rb") as handle:
        start = handle.read(len(_STARTS[suffix]))
    if start != _STARTS[suffix]:
        kind = "trajectory" if suffix == ".traj" else "SQLite database"
        raise ValueError(f"{path} is no {kind} of ASE, or a damaged one")
    yield from _frames(path) if suffix == ".traj" else _rows(path)


def _frames(path: Path) -> Iterator[RawEntry]:
    from ase.io.trajectory import TrajectoryReader  # noqa: PLC0415

    try:
        trajectory = TrajectoryReader(str(path))
    except Exception as error:  # a damaged file raises whatever stands at the wrong place
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from error
    with closing(trajectory):
        if not len(trajectory):
            raise ValueError(f"{path} is empty: it holds no frames")
        for i in range(len(trajectory)):
            place, name = f"{path.name}, entry {i}", f"{path.name}:{i}"
            try:
                atoms = trajectory[i]
                _refuse_disorder(atoms)
                text = structure_text(atoms.cell.array, atoms.symbols, atoms.positions, atoms.pbc)
                facts = {**atoms.info, **(atoms.calc.results if atoms.calc else {})}
            except Exception as error:  # as above; the other frames stay readable
                yield RawEntry("", "json", place, i, name, {}, problem=first_line(error))
                continue
            yield RawEntry(text, "json", place, i, name, single_numbers(facts))


def _rows(path: Path) -> Iterator[RawEntry]:
    from ase.db import connect  # noqa: PLC0415

    try:
        found = list(connect(str(path), type="db", use_lock_file=False).select(sort="id"))
    except Exception as error:  # SQLite's and ASE's errors for damaged and newer files
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from error
    if not found:
        raise ValueError(f"{path} is empty: it holds no rows")
    for i, row in enumerate(found):
        text = structure_text(row.cell, row.symbols, row.positions, row.pbc)
        pairs = row.key_value_pairs
        results = {key: row.get(key) for key in ("energy", "free_energy", "magmom")}
        name = next((str(pairs[key]) for key in _NAMES if key in pairs), f"{path.name}:{row.id}")
        place = f"{path.name}, id {row.id}"
        yield RawEntry(text, "json", place, i, name, single_numbers({**results, **pairs}))


def _refuse_disorder(atoms: Atoms) -> None:
    """Refuse what ASE read from a disordered CIF: it keeps one species of a shared site.

    Raises:
        ValueError: If a site was not fully occupied by one species.
    """
    kept = atoms.info.get("occupancy")
    for found in kept.values() if isinstance(kept, dict) else ():
        if len(found) != 1 or abs(float(next(iter(found.values()))) - 1) > 1e-8:
            raise ValueError(f"disordered: a site was occupied by {found}")
