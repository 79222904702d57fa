"""Uniqueness and novelty by structure matching."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.known.cells import (
    ANGLE_TOL,
    LTOL,
    STOL,
    Cell,
    Key,
    KeyedCell,
    PrimitiveCells,
    matcher,
    matching_key,
)
from pyg_crysdiff.known.comparing import CellGroup
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.known.finding import find_known
from pyg_crysdiff.known.grouping import kinds_by_key, search_by_key

if TYPE_CHECKING:
    from pymatgen.core import Structure

__all__ = [
    "ANGLE_TOL",
    "LTOL",
    "STOL",
    "Key",
    "KeyedCell",
    "PrimitiveCells",
    "first_occurrences",
    "kinds",
    "known_groups",
    "known_matches",
    "matcher",
    "matching_key",
    "novel",
]


def first_occurrences(
    crystals: Sequence[Crystal],
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.bool_]:
    """Return whether each crystal matches none before it, (M,); the mean is the *uniqueness*.

    Arguments as in :func:`kinds`.
    """
    found = kinds(crystals, cells=cells, num_workers=num_workers, progress=progress)
    return np.asarray(found == np.arange(len(found)))


def kinds(
    crystals: Sequence[Crystal],
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.int64]:
    """Return for each crystal the index of the first one that it matches, itself included, (M,).

    Two crystals are the same if pymatgen's StructureMatcher (ltol 0.2, stol 0.3, angle 5
    degrees, primitive cells, volumes scaled) says so. Each is compared with the first of every
    kind before it, in order, and is of the first kind that it matches.

    Args:
        crystals: Valid crystals, in order.
        cells: Keeps primitive cells for the next comparison; None where there is none.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    return kinds_by_key(
        partial(CellGroup, matcher()), cells.of(crystals), label="uniqueness",
        num_workers=num_workers, progress=progress,
    )  # fmt: skip


def novel(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal] | Database,
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.bool_]:
    """Return whether each crystal matches none of the known (training) crystals, (M,).

    Args:
        crystals: Valid crystals.
        known: Training crystals, or a database of known crystals; the verdicts are the same.
        cells: See :func:`first_occurrences`.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    if isinstance(known, Database):
        matched = find_known(
            crystals, known, cells=cells, num_workers=num_workers, progress=progress
        )
        return np.array([crystal is None for crystal in matched], dtype=bool)
    found = known_matches(crystals, known, cells=cells, num_workers=num_workers, progress=progress)
    return np.array([match is None for match in found], dtype=bool)


def known_matches(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    *,
    cells: PrimitiveCells | None = None,
    known_cells: PrimitiveCells | None = None,
    stol: float = STOL,
    num_workers: int | None = None,
    progress: bool = False,
) -> list[int | None]:
    """Return for each crystal the place of a known crystal that it matches; None for none, (M,).

    Nearest volumes are compared first, and the first match is taken.

    Args:
        crystals: Valid crystals. Only those of a formula that is known are reduced.
        known: Known crystals; only those of a formula that occurs are reduced.
        cells: See :func:`first_occurrences`.
        known_cells: The same for the known crystals; None where one object keeps all.
        stol: Tolerance of the matcher for places.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    formulas = {reduced_formula(crystal) for crystal in known}
    places = [i for i, crystal in enumerate(crystals) if reduced_formula(crystal) in formulas]
    keyed = cells.of([crystals[i] for i in places])
    groups = {
        key: [(index, _plain(structure)) for index, structure in members]
        for key, members in known_groups(
            (key for key, _ in keyed), known, known_cells or cells
        ).items()
    }
    found = search_by_key(
        partial(_matches, stol), keyed, groups, num_workers=num_workers, progress=progress
    )
    out: list[int | None] = [None] * len(crystals)
    for i, match in zip(places, found, strict=True):
        out[i] = match
    return out


def known_groups(
    keys: Iterable[Key | None], known: Sequence[Crystal], cells: PrimitiveCells
) -> dict[Key, list[tuple[int, Structure]]]:
    """Return the known crystals that some crystal may match, by key.

    Args:
        keys: Keys of the crystals.
        known: Known crystals. Only those of a wanted formula are reduced.
        cells: Makes and keeps their primitive cells.

    Returns:
        Key to the index among ``known`` and the primitive cell of every member.
    """
    wanted = {key for key in keys if key is not None}
    formulas = {formula for formula, _ in wanted}
    possible = [i for i, crystal in enumerate(known) if reduced_formula(crystal) in formulas]
    groups: dict[Key, list[tuple[int, Structure]]] = defaultdict(list)
    reduced = cells.of([known[i] for i in possible])
    for index, (key, structure) in zip(possible, reduced, strict=True):
        if key is not None and key in wanted:
            groups[key].append((index, structure))
    return dict(groups)


def _plain(structure: Structure) -> Crystal:
    """Return a cell as numbers, which go to other processes in less time."""
    numbers = np.array(structure.atomic_numbers)
    return Crystal(structure.lattice.matrix, structure.frac_coords, numbers)


def _matches(
    stol: float,
    task: tuple[Key, list[tuple[int, Crystal]], list[Structure]],
) -> list[int | None]:
    _, members, structures = task
    known = CellGroup(matcher(stol), [Cell(cell) for _, cell in members])
    found = [known.nearest_match(Cell(structure)) for structure in structures]
    return [None if place is None else members[place][0] for place in found]
