"""The symmetry of a trial structure: which displacements of its atoms keep it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.structrepdiff.starts import Array, Frame
from pyg_crysdiff.structrepdiff.symmetry import SpaceGroup, landings

_APART = 0.05  # Angstrom; an image nearer to an atom is that atom
_FREE = 0.5  # a projection's singular values are 0 or 1


@dataclass(frozen=True)
class Orbits:
    """How a space group acts on the atoms of a structure that obeys it.

    Attributes:
        group: Space group, in the axes of the cell.
        label: Orbit of each atom: the first of its atoms, (N,).
        basis: Cartesian displacements that keep the group, one for each free parameter of the
            occupied Wyckoff positions, (N, 3, K). Each moves the atoms of one orbit by 1.
        strain: How much the operations change lengths, relative: 0 where the cell has exactly the
            metric that the group needs.
    """

    group: SpaceGroup
    label: NDArray[np.int64]
    basis: Array
    strain: float = 0.0

    @property
    def freedom(self) -> int:
        """Number of free parameters K."""
        return self.basis.shape[2]

    @cached_property
    def centres(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first atom of each orbit, and how many atoms the orbit has, (O,) each."""
        return np.unique(self.label, return_counts=True)

    @cached_property
    def members(self) -> list[NDArray[np.int64]]:
        """Atoms of each orbit."""
        return [np.flatnonzero(self.label == first) for first in np.unique(self.label)]

    @classmethod
    def of(cls, frame: Frame, frac_coords: Array, group: SpaceGroup) -> Orbits | None:
        """Return the orbits of a structure, or None where it does not obey the group.

        Args:
            frame: Lattice and composition.
            frac_coords: Coordinates, (N, 3).
            group: Space group in the axes of the lattice.
        """
        images, beside = landings(
            group.images(frac_coords), frac_coords, frame.atomic_numbers, frame.lattice
        )
        if np.linalg.norm(beside @ frame.lattice, axis=2).max() > _APART:
            return None
        turns = np.linalg.inv(frame.lattice) @ group.rotations @ frame.lattice  # d -> d T, rows
        columns = []
        label = images.min(0)
        for first in np.unique(label):
            stabiliser = turns[images[:, first] == first]
            values, directions = np.linalg.eigh(_symmetrised(stabiliser.mean(0)))
            _, operation = np.unique(images[:, first], return_index=True)
            atoms = images[operation, first]
            for direction in directions.T[values > _FREE]:
                column = np.zeros((len(label), 3))
                column[atoms] = direction @ turns[operation]
                columns.append(column)
        basis = np.stack(columns, 2) if columns else np.zeros((len(label), 3, 0))
        stretched = np.linalg.svd(turns, compute_uv=False)
        return cls(group, label, basis, float(np.abs(stretched - 1).max()))


def _symmetrised(matrix: Array) -> Array:
    """The mean of a group's rotations is a symmetric matrix, up to rounding and strain."""
    return 0.5 * (matrix + matrix.T)
