"""Euclidean distances between many vectors: by matrix products, and exactly where it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

_LARGEST_ERROR = 1e-9  # of a squared distance; beyond it every pair is computed by itself


class Distances:
    """Distances to a fixed set of vectors.

    A matrix product gives all squares, some ten times as fast as pair by pair, with a rounding
    error whose bound is known. Distances that are returned, and pairs at a cut-off, are computed
    one by one.

    Args:
        others: Vectors (N, D).
    """

    def __init__(self, others: NDArray[np.float64]) -> None:
        self.others = others
        self.norms = np.einsum("nd,nd->n", others, others)

    def from_rows(self, rows: NDArray[np.float64]) -> DistanceBlock:
        """Return the distances of each of ``rows`` (M, D) to each of the others."""
        from sklearn.metrics.pairwise import euclidean_distances  # noqa: PLC0415  (slow import)

        norms = np.einsum("md,md->m", rows, rows)
        largest = norms.max(initial=0.0) + self.norms.max(initial=0.0)
        error = 4 * (rows.shape[1] + 2) * np.finfo(np.float64).eps * largest
        if not rows.size or not self.others.size or not error <= _LARGEST_ERROR:
            return DistanceBlock(rows, self.others, cdist(rows, self.others, "sqeuclidean"), 0.0)
        squares = euclidean_distances(
            rows,
            self.others,
            squared=True,
            X_norm_squared=norms[:, None],
            Y_norm_squared=self.norms[None],
        )
        return DistanceBlock(rows, self.others, squares, float(error))


@dataclass(frozen=True)
class DistanceBlock:
    """Distances between rows (M, D) and others (N, D).

    Attributes:
        rows: First vectors.
        others: Second vectors.
        squares: Squared distances (M, N), each wrong by ``error`` at most.
        error: Bound of the rounding error.
    """

    rows: NDArray[np.float64]
    others: NDArray[np.float64]
    squares: NDArray[np.float64]
    error: float

    def nearest(self, axis: int) -> NDArray[np.float64]:
        """Return the smallest distances along an axis, computed by themselves.

        Of pairs whose squares differ by less than twice the error, any may count as the nearest.
        """
        places = self.squares.argmin(axis)
        if axis == 1:
            return self._exact(np.arange(len(places)), places)
        return self._exact(places, np.arange(len(places)))

    def within(self, cutoff: float) -> NDArray[np.bool_]:
        """Return which distances are at most ``cutoff``, (M, N)."""
        slack = self.error + 8 * np.finfo(np.float64).eps * cutoff**2  # the second: of squaring
        near = self.squares <= cutoff**2 + slack
        unsure = np.flatnonzero(near & (self.squares >= cutoff**2 - slack))
        near.flat[unsure] = self._exact(*np.divmod(unsure, len(self.others))) <= cutoff
        return near

    def _exact(self, rows: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
        difference = self.rows[rows] - self.others[others]
        return np.sqrt(np.einsum("pd,pd->p", difference, difference))
