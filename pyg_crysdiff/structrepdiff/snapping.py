"""What is nearly symmetric becomes symmetric: generated cells, and sites in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

from pyg_crysdiff.structrepdiff.symmetry import Array, landings

_STEPS = (1.0, 0.5, 0.25)  # of the tolerance; a smaller one finds less symmetry and moves less
_REPEATS = 4


def symmetric_cell(lattice: Array, tolerance: float) -> Array:
    r"""Return the cell with the metric that all its near symmetries leave as it is, (3, 3).

    .. math:: G' = \frac{1}{|P|} \sum_{W \in P} W^T G W, \qquad G = L L^T

    over the rotations W (integers, on columns) that turn the bare lattice into itself within the
    tolerance. The volume stays, and so do the axes, in another orientation. A cell without such
    rotations, or one whose change would be larger than the tolerance, is returned as it is.

    Args:
        lattice: Row lattice, Angstrom.
        tolerance: Largest change of an entry of the metric, relative to the lengths it belongs
            to.
    """
    scale = np.linalg.norm(lattice, axis=1)
    for share in _STEPS:
        found = _operations(
            (lattice, np.zeros((1, 3)), np.array([1])), share * tolerance * scale.min()
        )
        if found is None or len(found[0]) <= 2:
            continue
        metric = _averaged(lattice @ lattice.T, found[0])
        out = np.asarray(np.linalg.cholesky(metric), dtype=np.float64)
        out *= (abs(np.linalg.det(lattice)) / np.linalg.det(out)) ** (1 / 3)
        change = (out @ out.T - lattice @ lattice.T) / np.outer(scale, scale)
        if np.abs(change).max() <= tolerance:
            return out
    return lattice


def snapped(
    lattice: Array, frac_coords: Array, numbers: NDArray[np.int64], tolerance: float
) -> tuple[Array, Array, int]:
    """Return lattice and coordinates that obey the space group they nearly have, and its order.

    Every site moves to the mean of what the operations make of its images, and the cell as in
    :func:`symmetric_cell`; the axes and the order of atoms stay. What is symmetric then may be near
    still more symmetry, so this is repeated. Nothing moves without symmetry within the tolerance,
    or where a site would move further than it; the order is then 1.

    Args:
        lattice: Row lattice, Angstrom.
        frac_coords: Coordinates, (N, 3).
        numbers: Atomic numbers, (N,).
        tolerance: Distance up to which sites count as equivalent, Angstrom.
    """
    cell, x, order = lattice, frac_coords, 1
    for _ in range(_REPEATS):
        found = _operations((cell, x, numbers), tolerance)
        if found is None or len(found[0]) <= order:
            break
        shifts = _mean_shifts(cell, x, numbers, *found)
        if shifts is None:
            break
        moved = x + shifts
        if np.linalg.norm((moved - frac_coords) @ cell, axis=1).max() > tolerance:
            break
        cell = np.asarray(np.linalg.cholesky(_averaged(cell @ cell.T, found[0])), dtype=np.float64)
        x, order = moved, len(found[0])
    return (lattice, frac_coords, 1) if order == 1 else (cell, x % 1.0, order)


def _operations(cell: Any, symprec: float) -> tuple[Array, Array] | None:
    """Rotations (G, 3, 3), on columns, and translations (G, 3), in the axes of the cell."""
    found = spglib.get_symmetry(cell, symprec=symprec)
    if found is None:
        return None
    return np.asarray(found["rotations"], dtype=float), np.asarray(found["translations"])


def _averaged(gram: Array, rotations: Array) -> Array:
    """Mean of the metric over rotations of columns, x' = W x: W^T G W."""
    mean: Array = np.einsum("gki,kl,glj->ij", rotations, gram, rotations) / len(rotations)
    return mean


def _mean_shifts(
    lattice: Array,
    x: Array,
    numbers: NDArray[np.int64],
    rotations: Array,
    translations: Array,
) -> Array | None:
    """Mean over the operations of how far an image lands from the site it stands for, (N, 3)."""
    shifts = np.zeros_like(x)
    for rotation, translation in zip(rotations, translations, strict=True):
        target, beside = landings(x @ rotation.T + translation, x, numbers, lattice)
        if len(set(target.tolist())) < len(x):
            return None  # two images claim one site: too coarse a tolerance
        shifts[target] += beside
    mean: Array = shifts / len(rotations)
    return mean
