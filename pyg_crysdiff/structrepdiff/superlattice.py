"""Smaller cells of which a given cell can be a supercell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import spglib
from numpy.typing import NDArray

from pyg_crysdiff.structrepdiff.symmetry import SpaceGroup

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FinerCell:
    """A cell of which a given lattice is a supercell.

    Attributes:
        lattice: Niggli-reduced row lattice, Angstrom, (3, 3).
        shifts: Its translations modulo the given lattice, fractional in the given axes, (m, 3).
    """

    lattice: Array
    shifts: Array

    def repeat(self, frac_coords: Array, lattice: Array) -> Array:
        """Return coordinates in the given lattice of points (M, 3) in this cell, (M * m, 3).

        All copies of a point stand together, so that the order of species is kept.
        """
        inside = frac_coords @ self.lattice @ np.linalg.inv(lattice)
        return (inside[:, None] + self.shifts).reshape(-1, 3) % 1.0

    def carried(self, group: SpaceGroup, lattice: Array) -> SpaceGroup:
        """Return what is left of a space group of this cell in the given lattice.

        The operations that keep the given lattice, each with all translations of this cell.

        Args:
            group: Space group in the axes of this cell.
            lattice: The given row lattice, Angstrom.
        """
        axes = self.lattice @ np.linalg.inv(lattice)
        rotations = np.linalg.inv(axes) @ group.rotations @ axes
        kept = np.abs(rotations - np.rint(rotations)).max((1, 2)) < 1e-3
        rotations, translations = np.rint(rotations[kept]), group.translations[kept] @ axes
        return SpaceGroup(
            group.number,
            np.repeat(rotations, len(self.shifts), 0),
            (translations[:, None] + self.shifts).reshape(-1, 3) % 1.0,
        )


def finer_cells(lattice: Array, index: int, shortest: float) -> list[FinerCell]:
    """Return the cells that fit ``index`` times into a lattice.

    They are the inverses of the Hermite normal forms of that determinant (Santoro & Mighell, Acta
    Cryst. A 28, 284 (1972)).

    Args:
        lattice: Row lattice, Angstrom.
        index: m, the number of copies.
        shortest: Smallest allowed length of a translation, Angstrom: an atom's distance to its
            own image is a distance between atoms.
    """
    key = np.ascontiguousarray(lattice, dtype=np.float64).tobytes()
    return list(_finer_cells(key, index, round(shortest, 6)))


@lru_cache(maxsize=256)  # every wave of a search asks for the same cells
def _finer_cells(key: bytes, index: int, shortest: float) -> tuple[FinerCell, ...]:
    lattice = np.frombuffer(key).reshape(3, 3)
    out = []
    for form in _hermite_normal_forms(index):
        inverse = np.linalg.inv(form)
        reduced = spglib.niggli_reduce(inverse @ lattice)
        if reduced is None or np.linalg.norm(reduced, axis=1).min() < shortest:
            continue
        corners = np.array(list(product(*(range(int(k)) for k in form.diagonal()))))
        out.append(FinerCell(np.asarray(reduced), corners @ inverse % 1.0))
    return tuple(out)


def _hermite_normal_forms(determinant: int) -> Iterator[Array]:
    """Integer matrices [[a, 0, 0], [d, b, 0], [e, f, c]], a b c = determinant, d < b, e, f < c."""
    sizes = [k for k in range(1, determinant + 1) if determinant % k == 0]
    for a, b in product(sizes, repeat=2):
        if determinant % (a * b) == 0:
            c = determinant // (a * b)
            for d, e, f in product(range(b), range(c), range(c)):
                yield np.array([[a, 0, 0], [d, b, 0], [e, f, c]], dtype=float)
