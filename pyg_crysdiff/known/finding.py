"""Which known crystal a crystal is: the matcher's verdict, within a composition and a size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.known.cells import STOL, Cell, Key, PrimitiveCells, matcher
from pyg_crysdiff.known.comparing import CellGroup
from pyg_crysdiff.known.database import Database, KnownCrystal
from pyg_crysdiff.known.grouping import search_by_key

if TYPE_CHECKING:
    from pymatgen.core import Structure


def find_known(
    crystals: Sequence[Crystal],
    database: Database,
    *,
    cells: PrimitiveCells | None = None,
    stol: float = STOL,
    num_workers: int | None = None,
    progress: bool = False,
) -> list[KnownCrystal | None]:
    """Find the known crystal that each one matches; None where it matches none.

    Two crystals match if pymatgen's StructureMatcher says so, with the tolerances of
    :func:`pyg_crysdiff.evaluation.uniqueness.kinds`. Only crystals of the same reduced formula and
    size of the primitive cell are compared, those of the nearest volume first: the first one that
    matches is taken, of equal volumes the one that was added first.

    Args:
        crystals: Structurally valid crystals.
        database: Known crystals. Every process opens the file for itself.
        cells: Keeps primitive cells for other comparisons; None where there are none.
        stol: Tolerance of the matcher for places.
        num_workers: Processes; None for all cores.
        progress: Show progress bars.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    there = database.keys(reduced_formula(crystal) for crystal in crystals)
    formulas = {formula for formula, _ in there}
    # Who has a formula of its own need not be reduced.
    places = [i for i, crystal in enumerate(crystals) if reduced_formula(crystal) in formulas]
    keyed = cells.of([crystals[i] for i in places])
    found = search_by_key(
        partial(_rows_that_match, database.path, stol), keyed, there,
        num_workers=num_workers, progress=progress,
    )  # fmt: skip
    which = database.which(row for row in found if row is not None)
    out: list[KnownCrystal | None] = [None] * len(crystals)
    for i, row in zip(places, found, strict=True):
        if row is not None:
            out[i] = which[row]
    return out


class KnownCells:
    """The cells of a database by key, read when a key is first asked for.

    Args:
        path: The database.
        stol: Tolerance of the matcher for places.
    """

    def __init__(self, path: str | Path, stol: float = STOL) -> None:
        self._database = Database(path)
        self._matcher = matcher(stol)
        self._cells: dict[Key, tuple[list[int], CellGroup]] = {}

    def match(self, key: Key, structure: Structure) -> int | None:
        """Return the row of the known crystal that a reduced primitive cell matches, or None."""
        if key not in self._cells:
            found = self._database.cells(key)
            group = CellGroup(self._matcher, [Cell(cell) for _, cell in found])
            self._cells[key] = ([row for row, _ in found], group)
        rows, group = self._cells[key]
        index = group.nearest_match(Cell(structure))
        return None if index is None else rows[index]


def _rows_that_match(
    path: Path, stol: float, task: tuple[Key, int, list[Structure]]
) -> list[int | None]:
    key, _, structures = task
    cells = KnownCells(path, stol)
    return [cells.match(key, structure) for structure in structures]
