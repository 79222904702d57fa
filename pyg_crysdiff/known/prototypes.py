"""Prototypes: crystals of one structure, whatever their elements are.

Two crystals are of one prototype if pymatgen's ``StructureMatcher.fit_anonymous`` finds elements
that can be exchanged so that they match, with the tolerances of all other comparisons here. They
are compared within an anonymous formula and a size of the primitive cell only. All exchanges of
elements are tried, and thousands of crystals may share an anonymous formula such as ABC3, so that
this takes ten to a hundred times as long as novelty of crystals.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import anonymous_formula
from pyg_crysdiff.known.cells import Cell, Key, KeyedCell, PrimitiveCells, matcher
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.known.grouping import kinds_by_key, search_by_key

if TYPE_CHECKING:
    from pymatgen.core import Structure


def prototype_kinds(
    crystals: Sequence[Crystal],
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.int64]:
    """Return for each crystal the index of the first one of its prototype, itself included, (M,).

    Each is compared with the first of every prototype before it, in order.

    Args:
        crystals: Structurally valid crystals.
        cells: Keeps primitive cells for other comparisons; None where there are none.
        num_workers: Processes; None for all cores.
        progress: Show progress bars.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    return kinds_by_key(
        PrototypeGroup, _anonymous(crystals, cells), label="prototypes", num_workers=num_workers,
        progress=progress,
    )  # fmt: skip


def new_prototypes(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal] | Database,
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.bool_]:
    """Return whether each crystal has the prototype of no known crystal, (M,).

    Args:
        crystals: Structurally valid crystals.
        known: Known crystals, or a database of them.
        cells: Keeps primitive cells for other comparisons; None where there are none.
        num_workers: Processes; None for all cores.
        progress: Show progress bars.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    keyed = _anonymous(crystals, cells)
    there = {key for key, _ in keyed if key is not None}
    if isinstance(known, Database):
        work, members = (
            partial(_new_to_database, known.path),
            known.prototype_keys(f for f, _ in there),
        )
        found = search_by_key(work, keyed, members, num_workers=num_workers, progress=progress)
    else:
        formulas = {formula for formula, _ in there}
        possible = [crystal for crystal in known if anonymous_formula(crystal) in formulas]
        groups: dict[Key, list[Structure]] = defaultdict(list)
        for key, cell in _anonymous(possible, cells):
            if key in there:
                groups[key].append(cell)
        found = search_by_key(_new_to, keyed, groups, num_workers=num_workers, progress=progress)
    return np.array([new is not False for new in found], dtype=bool)


def _anonymous(crystals: Sequence[Crystal], cells: PrimitiveCells) -> list[KeyedCell]:
    """Return the reduced cells with their anonymous keys; None for what cannot be reduced."""
    return [
        (None if key is None else (anonymous_formula(crystal), key[1]), cell)
        for crystal, (key, cell) in zip(crystals, cells.of(crystals), strict=True)
    ]


def fits_anonymously(known: Cell, cell: Cell) -> bool:
    """Return whether two reduced primitive cells are of one prototype."""
    if not known.lattice.may_become(cell.lattice):
        return False  # this matching begins with the lattices too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(
            matcher().fit_anonymous(known.structure, cell.structure, skip_structure_reduction=True)
        )


class PrototypeGroup:
    """Reduced primitive cells of one anonymous key, which others of this key are compared with.

    Args:
        cells: The members.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = cells

    def first_match(self, cell: Cell, among: NDArray[np.int64]) -> int | None:
        """Return the first of some members that is of one prototype with a cell; None for none."""
        return next((k for k in among.tolist() if fits_anonymously(self._cells[k], cell)), None)


def _is_new(cell: Cell, known: Sequence[Cell]) -> bool:
    """Compare in the order of the cells' shapes: a match ends the search."""
    shape = cell.lattice.lengths
    nearest = sorted(known, key=lambda one: float(np.abs(one.lattice.lengths - shape).sum()))
    return not any(fits_anonymously(one, cell) for one in nearest)


def _new_to(task: tuple[Key, list[Structure], list[Structure]]) -> list[bool]:
    _, members, structures = task
    known = [Cell(one) for one in members]
    return [_is_new(Cell(structure), known) for structure in structures]


def _new_to_database(path: Path, task: tuple[Key, int, list[Structure]]) -> list[bool]:
    key, _, structures = task
    known = [Cell(cell) for _, cell in Database(path).prototype_cells(key)]
    return [_is_new(Cell(structure), known) for structure in structures]
