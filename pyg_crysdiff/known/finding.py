"""Which known crystal a crystal is: the matcher's verdict, within a composition and a size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.known.cells import (
    Key,
    PrimitiveCells,
    fits_inside,
    lattices_fit,
    matcher,
)
from pyg_crysdiff.known.database import Database, KnownCrystal
from pyg_crysdiff.parallel import parallel_map

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Lattice, Structure

_TOGETHER = 16  # crystals of one key per task: reading their known ones costs as some comparisons
_FEW = 200  # crystals; starting processes for less takes longer than the work
_Task = tuple[Key, list["Structure"]]


def find_known(
    crystals: Sequence[Crystal],
    database: Database,
    *,
    cells: PrimitiveCells | None = None,
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
        num_workers: Processes; None for all cores.
        progress: Show progress bars.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    there = database.keys(reduced_formula(crystal) for crystal in crystals)
    formulas = {formula for formula, _ in there}
    places = [i for i, crystal in enumerate(crystals) if reduced_formula(crystal) in formulas]
    members: dict[Key, list[tuple[int, Structure]]] = defaultdict(list)
    for i, (key, cell) in zip(places, cells.of([crystals[i] for i in places]), strict=True):
        if key is not None and key in there:
            members[key].append((i, cell))
    parts = [
        (key, some[start : start + _TOGETHER])
        for key, some in members.items()
        for start in range(0, len(some), _TOGETHER)
    ]
    tasks: list[_Task] = [(key, [cell for _, cell in some]) for key, some in parts]
    rows = parallel_map(
        partial(_rows_that_match, database.path), tasks, num_workers=num_workers,
        progress=progress, label="known crystals", chunksize=4,
        serial_below=2 if sum(len(some) for some in members.values()) >= _FEW else len(tasks) + 1,
    )  # fmt: skip
    out: list[int | None] = [None] * len(crystals)
    for (_, some), found in zip(parts, rows, strict=True):
        for (i, _), row in zip(some, found, strict=True):
            out[i] = row
    which = database.which(row for row in out if row is not None)
    return [None if row is None else which[row] for row in out]


class KnownCell:
    """A reduced primitive cell out of a database; what pymatgen needs of it is made when asked."""

    def __init__(self, row: int, crystal: Crystal) -> None:
        self.row, self.crystal, self.volume = row, crystal, crystal.volume

    @cached_property
    def lattice(self) -> Lattice:
        """The lattice."""
        from pymatgen.core import Lattice  # noqa: PLC0415

        return Lattice(self.crystal.lattice)

    @cached_property
    def structure(self) -> Structure:
        """The structure; most cells of a group are refused before it is needed."""
        return self.crystal.to_structure()


class KnownCells:
    """The cells of a database by key, read when a key is first asked for.

    Args:
        path: The database.
    """

    def __init__(self, path: str | Path) -> None:
        self._database = Database(path)
        self._matcher = matcher()
        self._cells: dict[Key, list[KnownCell]] = {}

    def match(self, key: Key, structure: Structure) -> int | None:
        """Return the row of the known crystal that a reduced primitive cell matches, or None."""
        if key not in self._cells:
            self._cells[key] = [KnownCell(*found) for found in self._database.cells(key)]
        return first_match(self._matcher, structure, self._cells[key])


def first_match(
    compare: StructureMatcher, structure: Structure, known: Sequence[KnownCell]
) -> int | None:
    """Return the row of the first cell that matches, nearest volumes first; None for none."""
    volume, lattice = structure.volume, structure.lattice
    for cell in sorted(known, key=lambda c: abs(c.volume - volume)):
        if lattices_fit(cell.lattice, lattice) and fits_inside(compare, cell.structure, structure):
            return cell.row
    return None


def _rows_that_match(path: Path, task: _Task) -> list[int | None]:
    key, structures = task
    cells = KnownCells(path)
    return [cells.match(key, structure) for structure in structures]
