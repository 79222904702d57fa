"""Energies that somebody computed elsewhere: with DFT, or with another potential."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.archives import read_file
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.formats.extxyz import frame_crystal, frame_properties
from pyg_crysdiff.data.formats.structures_json import load_json
from pyg_crysdiff.data.sources import file_entries, format_of, is_json, is_table
from pyg_crysdiff.data.tables import IDENTIFIERS, load_table
from pyg_crysdiff.data.texts import decode
from pyg_crysdiff.storage import user_path

Entry = Crystal | BrokenEntry
PER_ATOM, TOTAL = "energy_per_atom", "energy_total"
_HOW = (
    f"name the energy {PER_ATOM} (eV/atom) or {TOTAL} (eV per cell), and beside it give index "
    "(place of the structure in the sample file, from 0), id or digest"
)
_NEAR = 1e-3  # of cell lengths, and in fractional coordinates: what rounding in files moves


@dataclass(frozen=True)
class Energies:
    """Energies of the structures of a sample file.

    Attributes:
        values: eV/atom, one per structure; NaN where the file has none.
        scheme: Corrections that they hold, as the user names them: ``MP2020``, ``none``, ...
        source: The file.
    """

    values: NDArray[np.float64]
    scheme: str
    source: str


class _Row(NamedTuple):
    """One energy of a file: where it stands, what is said of it, and its structure."""

    place: str
    facts: Mapping[str, Any]
    crystal: Crystal | None = None


def read_energies(
    path: str | Path, crystals: Sequence[Entry], scheme: str | None = None
) -> Energies:
    """Read energies and find the structures that they belong to.

    The file is a CSV, a JSON list of objects (or an object with ``energies``, the list, and
    ``scheme``), or extended XYZ. The energy is called ``energy_per_atom`` (eV/atom) or
    ``energy_total`` (eV per cell); in extended XYZ ``energy`` is the total one, as ASE writes it.
    Its structure is found by ``index`` (place in the sample file, from 0), by ``id`` (or
    ``material_id`` or ``name``, as in the crystal's ``info``), by ``digest``
    (:meth:`Crystal.digest`), or in extended XYZ, where none of these stands, by the structure
    itself: the same cell and atoms in the same order, to 0.001.

    Args:
        path: File.
        crystals: The structures, entries that could not be read among them.
        scheme: Corrections that the energies hold, such as ``MP2020`` or ``none``; None where the
            file says so.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, an energy is not named as above or is no number, a
            structure is not found or has two energies, or nobody says which corrections there are.
    """
    path = user_path(path)
    rows, said = _rows(path)
    chosen = scheme or said
    if not chosen:
        raise ValueError(
            f"{path} does not say which corrections its energies hold: name them with --scheme "
            "(MP2020 for the Materials Project's of 2020, none for none)"
        )
    if scheme and said and scheme != said:
        raise ValueError(f"{path} holds energies with {said!r}, not {scheme!r}")
    finder = _Finder(crystals)
    values = np.full(len(crystals), np.nan)
    taken: dict[int, str] = {}
    for row in rows:
        index = _located(row, finder)
        if index in taken:
            raise ValueError(f"{row.place}: structure {index} has an energy in {taken[index]} too")
        taken[index] = row.place
        values[index] = _energy(row, crystals[index])
    return Energies(values, chosen, str(path))


def _rows(path: Path) -> tuple[list[_Row], str]:
    """Return what stands in a file, and the scheme that it names."""
    if not path.is_file():
        raise FileNotFoundError(f"no file of energies at {path}")
    if is_json(path.name):
        content = load_json(decode(read_file(path), str(path)), str(path))
        said = ""
        if isinstance(content, dict) and "energies" in content:
            said, content = str(content.get("scheme") or ""), content["energies"]
        if not isinstance(content, list) or not all(isinstance(x, dict) for x in content):
            raise ValueError(f"{path} must hold a JSON list of objects: {_HOW}")
        rows = [_Row(f"{path}, entry {i}", facts) for i, facts in enumerate(content)]
    elif is_table(path.name):
        table = load_table(path)
        rows = [
            _Row(f"{path}, row {i}", dict(zip(table.header, cells, strict=True)))
            for i, cells in enumerate(table.rows)
        ]
        said = ""
    else:
        rows, said = list(_frames(path)), ""
    if not rows:
        raise ValueError(f"{path} holds no energies")
    schemes = {str(row.facts["scheme"]).strip() for row in rows if row.facts.get("scheme")}
    if len(schemes | ({said} - {""})) > 1:
        raise ValueError(f"{path} holds energies of several schemes: {', '.join(sorted(schemes))}")
    named = [[row.facts[n] for n in (PER_ATOM, TOTAL) if n in row.facts] for row in rows]
    if all(found and all(map(_gap, found)) for found in named):
        raise ValueError(f"{path} holds no energies: {_HOW}")
    return rows, next(iter(schemes), said)


def _frames(path: Path) -> Iterator[_Row]:
    if format_of(path.name) != "extxyz":
        raise ValueError(f"{path}: energies are read from CSV, JSON and extended XYZ files")
    for i, entry in enumerate(file_entries(path.name, path.read_bytes())):
        place = f"{path}, structure {i}"
        facts: dict[str, Any] = dict(frame_properties(entry.text))
        if "energy" in facts and not {PER_ATOM, TOTAL} & set(facts):
            facts[TOTAL] = facts.pop("energy")  # what ASE calls so is of the whole cell
        elif TOTAL not in facts:
            facts.setdefault(PER_ATOM, None)
        try:
            crystal = frame_crystal(entry.text)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        yield _Row(place, facts, crystal)


class _Finder:
    """Finds structures by index, identifier, digest or content."""

    def __init__(self, crystals: Sequence[Entry]) -> None:
        self.crystals = crystals
        self.ids: dict[str, list[int]] = {}
        self.digests: dict[str, list[int]] = {}
        for i, crystal in enumerate(crystals):
            if isinstance(crystal, Crystal):
                self.digests.setdefault(crystal.digest(), []).append(i)
                for name in {str(crystal.info[k]) for k in IDENTIFIERS if k in crystal.info}:
                    self.ids.setdefault(name, []).append(i)

    def like(self, wanted: Crystal) -> list[int]:
        """Return the structures with the same cell and atoms, in the same order."""
        found = (i for i, c in enumerate(self.crystals) if isinstance(c, Crystal))
        return [i for i in found if _same(self.crystals[i], wanted)]


def _same(a: Entry, b: Crystal) -> bool:
    if not isinstance(a, Crystal) or not np.array_equal(a.atomic_numbers, b.atomic_numbers):
        return False
    a, b = a.oriented(), b.oriented()
    if not np.allclose(a.lattice, b.lattice, atol=_NEAR * max(np.abs(b.lattice).max(), 1.0)):
        return False
    away = a.frac_coords - b.frac_coords
    return bool(np.abs(away - np.round(away)).max(initial=0) < _NEAR)


def _located(row: _Row, finder: _Finder) -> int:
    """Return the index of the structure that a row is about.

    A row that holds a structure of other atoms than the one that it names is refused: an index or
    name may be that of another file.
    """
    place = _named(row, finder)
    found = finder.crystals[place]
    if row.crystal is not None and isinstance(found, Crystal):
        own, other = Counter(row.crystal.atomic_numbers), Counter(found.atomic_numbers)
        if own != other:
            raise ValueError(
                f"{row.place} names structure {place} and holds other atoms than it; leave its "
                "index and names out, then it is found by its cell and atoms"
            )
    return place


def _named(row: _Row, finder: _Finder) -> int:
    facts = {key: value for key, value in row.facts.items() if value not in (None, "")}
    if "index" in facts:
        return _index(row, facts["index"], len(finder.crystals))
    if "digest" in facts:
        what, found = "digest", finder.digests.get(str(facts["digest"]).strip(), [])
    elif name := next((k for k in IDENTIFIERS if k in facts), None):
        what, found = f"{name} {facts[name]!r}", finder.ids.get(str(facts[name]).strip(), [])
    elif row.crystal is not None:
        what, found = "cell and atoms", finder.like(row.crystal)
    else:
        raise ValueError(f"{row.place} does not say which structure it is about: {_HOW}")
    if len(found) != 1:
        many = f"{len(found)} structures have" if found else "no structure has"
        raise ValueError(f"{row.place}: {many} this {what}; give the index instead")
    return found[0]


def _index(row: _Row, value: Any, count: int) -> int:
    try:
        number = float(str(value).strip())
    except ValueError:
        number = math.nan
    if number not in range(count):
        raise ValueError(
            f"{row.place}: index must be a whole number from 0 to {count - 1}, got {value!r}"
        )
    return int(number)


def _gap(value: Any) -> bool:
    return value is None or str(value).strip().lower() in ("", "nan")


def _energy(row: _Row, crystal: Entry) -> float:
    """Return the energy of a row in eV/atom; NaN for a gap."""
    names = [name for name in (PER_ATOM, TOTAL) if name in row.facts]
    if len(names) != 1:
        problem = "two energies" if names else "no energy whose unit is known"
        raise ValueError(f"{row.place} has {problem}: {_HOW}")
    value = row.facts[names[0]]
    if _gap(value):
        return math.nan
    try:
        energy = float(value)
    except (TypeError, ValueError):
        energy = math.inf
    if not math.isfinite(energy):
        raise ValueError(f"{row.place}: {names[0]} must be a number, got {value!r}")
    if not isinstance(crystal, Crystal):
        return math.nan
    return energy if names[0] == PER_ATOM else energy / len(crystal)
