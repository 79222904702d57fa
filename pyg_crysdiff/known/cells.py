"""Reduced primitive cells, what two crystals must share to match, and pymatgen's matcher."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.known.kernel import PackedCells
from pyg_crysdiff.known.lattices import ANGLE_TOL, LTOL, ScaledLattice
from pyg_crysdiff.parallel import parallel_map

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

STOL = 0.3  # pymatgen's default, written out since it decides the result

Key = tuple[str, int]
KeyedCell = tuple[Key | None, "Structure"]


def matching_key(crystal: Crystal) -> tuple[Key | None, Structure]:
    """Return the reduced primitive cell and what two crystals must share to match at all.

    The key is the reduced formula with the number of atoms of the primitive cell: the matcher
    compares primitive cells of equal content only. A cell that cannot be reduced has no key and
    matches nothing.
    """
    if not crystal.reducible:
        return None, crystal.to_structure()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = crystal.to_structure()
        try:
            structure = structure.get_primitive_structure()
            structure = structure.get_reduced_structure()
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            pass  # cells that cannot be reduced are compared as they are
    return (structure.composition.reduced_formula, len(structure)), structure


class PrimitiveCells:
    """Reduced primitive cells with their keys, made once however often they are compared.

    Args:
        num_workers: Processes; None for all cores.
        progress: Show progress bars.
    """

    def __init__(self, *, num_workers: int | None = None, progress: bool = False) -> None:
        self._options: dict[str, Any] = {"num_workers": num_workers, "progress": progress}
        self._made: dict[Crystal, KeyedCell] = {}  # an object is its own key, whatever it holds

    def of(self, crystals: Sequence[Crystal]) -> list[KeyedCell]:
        """Return :func:`matching_key` of every crystal, in order."""
        missing = list(dict.fromkeys(c for c in crystals if c not in self._made))
        if missing:
            made = parallel_map(matching_key, missing, label="primitive cells", **self._options)
            self._made.update(zip(missing, made, strict=True))
        return [self._made[crystal] for crystal in crystals]


@cache  # it keeps nothing of what it compares
def matcher(stol: float = STOL) -> StructureMatcher:
    """Return pymatgen's matcher, for cells that are primitive already.

    Args:
        stol: Its tolerance for places, in parts of the cube root of the volume of an atom.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher  # noqa: PLC0415

    return StructureMatcher(LTOL, stol, ANGLE_TOL, primitive_cell=False)


class Cell:
    """A reduced primitive cell to be matched; what is asked of it is made once, when asked.

    Args:
        content: The cell, of pymatgen or as it is kept in a database.
    """

    def __init__(self, content: Structure | Crystal) -> None:
        self._content = content
        lattice = content.lattice
        self._matrix = lattice if isinstance(lattice, np.ndarray) else lattice.matrix
        self.volume = float(abs(np.linalg.det(self._matrix)))

    @cached_property
    def structure(self) -> Structure:
        """The cell as pymatgen's structure; most cells are refused before it is needed."""
        return self._content.to_structure() if isinstance(self._content, Crystal) else self._content

    @cached_property
    def packed(self) -> PackedCells:
        """The cell as arrays for the kernel."""
        content = self._content
        numbers = np.asarray(content.atomic_numbers)  # a tuple in pymatgen
        return PackedCells.of(self._matrix, np.asarray(content.frac_coords, np.float64), numbers)

    @cached_property
    def lattice(self) -> ScaledLattice:
        """Its lattice at volume 1."""
        return ScaledLattice(self._matrix)
