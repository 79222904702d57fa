"""Neighbours of the atoms of a periodic crystal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal

_MOST = 2000  # neighbours of one atom; 6 A around an atom of a close-packed metal hold 100


class Neighbours(NamedTuple):
    """Directed pairs of atoms within a cut-off; each pair stands in both directions.

    Attributes:
        center: Index of the atom, (E,).
        other: Index of its neighbour, (E,).
        image: Cell in which the neighbour lies, (E, 3), whole numbers.
        length: Distance, (E,), A.
    """

    center: NDArray[np.int64]
    other: NDArray[np.int64]
    image: NDArray[np.int64]
    length: NDArray[np.float64]

    def vectors(self, crystal: Crystal) -> NDArray[np.float64]:
        """Return the vectors from atom to neighbour, (E, 3), A."""
        frac = crystal.frac_coords
        return (frac[self.other] + self.image - frac[self.center]) @ crystal.lattice


def find_neighbours(crystal: Crystal, cutoff: float) -> Neighbours:
    """Return all pairs of atoms, images included, that are at most ``cutoff`` (A) apart.

    Raises:
        ValueError: If the cell is so dense or so thin that no potential would take it, or an atom
            has no neighbour.
    """
    from pymatgen.optimization.neighbors import find_points_in_spheres  # noqa: PLC0415

    expected = 4.19 * cutoff**3 * len(crystal) / max(crystal.volume, 1e-9)
    if expected > _MOST or not crystal.reducible:
        raise ValueError("the cell has collapsed: too many atoms within the potential's cut-off")
    cart = np.ascontiguousarray(crystal.frac_coords @ crystal.lattice)
    center, other, image, length = find_points_in_spheres(
        cart, cart, float(cutoff), np.ones(3, dtype=np.int64),
        np.ascontiguousarray(crystal.lattice), 1e-8,
    )  # fmt: skip
    image = np.rint(image).astype(np.int64)
    away = (center != other) | (image != 0).any(1)
    found = Neighbours(center[away], other[away], image[away], length[away])
    if len(np.unique(found.center)) < len(crystal):
        raise ValueError(f"an atom has no neighbour within the potential's {cutoff:g} A")
    return found
