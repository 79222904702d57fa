"""Reduced primitive cells, what two crystals must share to match, and pymatgen's matcher."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.parallel import parallel_map

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Lattice, Structure

# pymatgen's defaults, written out since they decide the result.
LTOL, STOL, ANGLE_TOL = 0.2, 0.3, 5.0

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


def matcher() -> StructureMatcher:
    """Return pymatgen's matcher, for cells that are primitive already."""
    from pymatgen.analysis.structure_matcher import StructureMatcher  # noqa: PLC0415

    return StructureMatcher(LTOL, STOL, ANGLE_TOL, primitive_cell=False)


def fits(compare: StructureMatcher, known: Structure, structure: Structure) -> bool:
    """Return whether two reduced primitive cells of the same key match.

    The verdict is that of ``compare.fit``. Lattices that cannot be mapped onto each other are
    refused before it copies the structures; see :func:`lattices_fit`.
    """
    return lattices_fit(known.lattice, structure.lattice) and fits_inside(compare, known, structure)


def fits_inside(compare: StructureMatcher, known: Structure, structure: Structure) -> bool:
    """Return what the matcher says of two reduced primitive cells whose lattices may fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(compare.fit(known, structure, skip_structure_reduction=True))


def lattices_fit(known: Lattice, lattice: Lattice) -> bool:
    """Return whether the matcher finds a lattice of ``known`` that is close to the other one.

    This is the first thing that ``StructureMatcher.fit`` does with two primitive cells: it scales
    both to one volume and lists the cells of the first lattice whose lengths and angles lie within
    the tolerances of the second one. Where the list is empty there is no match, whatever the atoms
    are. The same functions of pymatgen are called with the same numbers here, so that nothing is
    refused that the matcher would not refuse.
    """
    from pymatgen.core import Lattice  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ratio = (lattice.volume / known.volume) ** (1 / 6)
        mappings = Lattice(known.matrix * ratio).find_all_mappings(
            Lattice(lattice.matrix / ratio), ltol=LTOL, atol=ANGLE_TOL, skip_rotation_matrix=True
        )
        return any(abs(abs(np.linalg.det(matrix)) - 1) <= 0.5 for _, _, matrix in mappings)
