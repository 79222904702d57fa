"""Lattices that cannot be mapped onto each other: most of what is no match, at a small price.

The first thing that pymatgen's ``StructureMatcher.fit`` does with two primitive cells is to scale
them to one volume and to look among the points of the first lattice for three vectors whose lengths
and angles are those of the second cell, within the tolerances (``Lattice.find_all_mappings``).
Where there are none it answers no, whatever the atoms are. The same search is done here, with
points that are listed once per cell and tolerances that are wider by far more than the errors of
double precision, and without asking for the volume that the three vectors span. So whatever is
refused here the matcher refuses too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LTOL, ANGLE_TOL = 0.2, 5.0  # pymatgen's defaults; degrees
_SLACK = 1e-6  # relative for lengths; degrees for angles
_START, _MOST = 3.0, 12.0  # radii within which points are listed, in a lattice of volume 1
_MOST_POINTS = 200_000  # of a grid that holds the sphere; more have cells of odd shapes only
_PAIRS = ((1, 2), (0, 2), (0, 1))


class ScaledLattice:
    """A lattice scaled to volume 1, with the points near the origin by their distance.

    Args:
        matrix: Lattice vectors as rows, (3, 3), of any volume but zero.
    """

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        self._matrix = matrix / abs(np.linalg.det(matrix)) ** (1 / 3)
        self.lengths = np.linalg.norm(self._matrix, axis=1)
        unit = self._matrix / self.lengths[:, None]
        cosines = np.clip([unit[i] @ unit[j] for i, j in _PAIRS], -1, 1)
        angles = np.degrees(np.arccos(cosines))
        wide = ANGLE_TOL + _SLACK
        # A cosine falls where its angle rises.
        self._most = np.cos(np.radians(np.maximum(angles - wide, 0)))
        self._least = np.cos(np.radians(np.minimum(angles + wide, 180)))
        self._radius = 0.0
        self._points = np.zeros((0, 3))
        self._distances = np.zeros(0)

    def may_become(self, other: ScaledLattice) -> bool:
        """Return False where no three vectors of this lattice are like the other one's cell."""
        wide = (1 + LTOL) * (1 + _SLACK)
        if not self._list_points(float(other.lengths.max()) * wide):
            return True
        units = []
        for length in other.lengths:
            low, high = np.searchsorted(self._distances, (length / wide, length * wide))
            if low == high:
                return False
            units.append(self._points[low:high])
        fits = []
        for k, (i, j) in enumerate(_PAIRS):
            cosines = units[i] @ units[j].T
            found = (cosines >= other._least[k] - 1e-12) & (cosines <= other._most[k] + 1e-12)
            if not found.any():
                return False
            fits.append(found)
        bc, ac, ab = fits
        # Some b fits both a and c, and they fit each other.
        return bool(((ab.astype(np.float32) @ bc.astype(np.float32) > 0) & ac).any())

    def _list_points(self, radius: float) -> bool:
        """List directions and distances of the points within a radius; False where too many."""
        if radius <= self._radius:
            return True
        if radius > _MOST:
            return False
        radius = max(radius, _START)
        # A coefficient is at most the distance times the length of the reciprocal vector.
        most = np.floor(radius * np.linalg.norm(np.linalg.inv(self._matrix), axis=0) + _SLACK)
        if np.prod(2 * most + 1) > _MOST_POINTS:
            return False
        axes = [np.arange(-n, n + 1) for n in most]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) @ self._matrix
        distances = np.linalg.norm(points, axis=1)
        inside = np.flatnonzero((distances <= radius) & (distances > 0))
        inside = inside[np.argsort(distances[inside])]
        self._distances = distances[inside]
        self._points = points[inside] / self._distances[:, None]
        self._radius = radius
        return True
