"""Groups of cells that others are compared with, with the verdicts of pymatgen."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.known.cells import Cell
from pyg_crysdiff.known.kernel import OPEN, YES, PackedCells, compare_cells

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher


class CellGroup:
    """Reduced primitive cells of one key, which others of this key are compared with.

    In every pair the member of the group comes first: ``compare.fit(member, cell)``.

    Args:
        compare: pymatgen's matcher, of :func:`pyg_crysdiff.known.cells.matcher`.
        cells: The members.
    """

    def __init__(self, compare: StructureMatcher, cells: Sequence[Cell]) -> None:
        self.cells = list(cells)
        self._compare = compare
        self._tolerances = (compare.ltol, compare.stol, float(compare.angle_tol))

    @cached_property
    def _packed(self) -> PackedCells:
        return PackedCells.join([cell.packed for cell in self.cells])

    @cached_property
    def _volumes(self) -> NDArray[np.float64]:
        return np.array([cell.volume for cell in self.cells])

    def first_match(self, cell: Cell, among: NDArray[np.int64] | None = None) -> int | None:
        """Return the first member that a cell matches; None for none.

        Args:
            cell: A reduced primitive cell of the same key.
            among: The members to compare, in order; None for all, in order.
        """
        left = np.arange(len(self.cells)) if among is None else among
        while len(left):
            verdicts = self._verdicts(left, cell, stop_at_first=True)
            for member, verdict in zip(left.tolist(), verdicts.tolist(), strict=False):
                if self._is_match(verdict, member, cell):
                    return member
            left = left[len(verdicts) :]
        return None

    def nearest_match(self, cell: Cell) -> int | None:
        """Return the first member that a cell matches, nearest volumes first; None for none.

        Of equal volumes the first comes first.
        """
        if not self.cells:
            return None
        order = np.argsort(np.abs(self._volumes - cell.volume), kind="stable")
        return self.first_match(cell, order)

    def matches(self, cell: Cell) -> list[int]:
        """Return all members that a cell matches, in order."""
        every = np.arange(len(self.cells))
        verdicts = self._verdicts(every, cell) if len(every) else every
        return [
            member for member, verdict in enumerate(verdicts.tolist())
            if self._is_match(verdict, member, cell)
        ]  # fmt: skip

    def _is_match(self, verdict: int, member: int, cell: Cell) -> bool:
        if verdict != OPEN:
            return verdict == YES
        return fits(self._compare, self.cells[member], cell)

    def _verdicts(
        self, which: NDArray[np.int64], cell: Cell, *, stop_at_first: bool = False
    ) -> NDArray[np.int8]:
        which = np.ascontiguousarray(which)
        return compare_cells(
            self._packed, which, cell.packed, self._tolerances, stop_at_first=stop_at_first
        )[0]


def fits(compare: StructureMatcher, known: Cell, cell: Cell) -> bool:
    """Ask pymatgen whether two reduced primitive cells of the same key match: ``compare.fit``.

    It is not asked where no lattice of the one is near the other; see
    :mod:`pyg_crysdiff.known.lattices`.
    """
    if not known.lattice.may_become(cell.lattice):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(compare.fit(known.structure, cell.structure, skip_structure_reduction=True))
