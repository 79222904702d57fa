"""Numbers of atoms near a value of a property: p(N | y) by a Gaussian kernel.

Values are counted in bins of half the kernel's width, so that the estimate stays small enough for a
checkpoint. The width is the one that best predicts the size of each training crystal from all the
others (leave-one-out likelihood; Hall, Racine & Li, J. Am. Stat. Assoc. 99, 1015 (2004)). Where few
sizes have a property's extreme values, a width that is too great asks for crystals that cannot be.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Histogram = dict[int, int]
# Kernel widths that are tried, in standard deviations of the property.
_WIDTHS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
_PER_WIDTH = 2
# A size that no neighbour has would otherwise refuse a width by itself.
_FLOOR = 0.01
# A kernel between more bins than these would be a matrix of hundreds of MB.
_MOST_BINS = 5_000


@dataclass(frozen=True)
class SizeBins:
    """Counts of atom numbers by the value of a property.

    Attributes:
        edges: Edges of the bins, ascending; one number for a single bin of everything.
        histograms: For each bin, atom count to number of crystals.
        bandwidth: Standard deviation of the kernel, in the property's unit; 0 for none: only the
            bin that holds a value counts, or the nearest one.
    """

    edges: tuple[float, ...]
    histograms: tuple[Histogram, ...]
    bandwidth: float = 0.0

    @classmethod
    def from_values(cls, values: NDArray[np.float64], sizes: NDArray[np.int64]) -> SizeBins:
        """Count values (M,) of crystals with the given atom counts (M,), and choose the kernel."""
        spread = float(values.std())
        widths = [width * spread for width in _WIDTHS] if spread > 0 else []
        counted = {width: _counted(values, sizes, width) for width in widths}
        counted = {w: found for w, found in counted.items() if len(found[0]) <= _MOST_BINS}
        if not counted:
            return cls((float(values.min()),), (size_histogram(sizes),))
        best = max(counted, key=lambda width: _left_out_likelihood(*counted[width]))
        return cls._of(float(values.min()), best, *counted[best], np.unique(sizes))

    @classmethod
    def _of(
        cls,
        start: float,
        bandwidth: float,
        places: NDArray[np.int64],
        counts: NDArray[np.int64],
        sizes: NDArray[np.int64],
    ) -> SizeBins:
        """Build contiguous bins of the places that hold crystals; a gap between is one bin."""
        at = dict(zip(places.tolist(), counts, strict=True))
        edges = np.unique(np.concatenate([places, places + 1]))
        return cls(
            edges=tuple((start + edges * (bandwidth / _PER_WIDTH)).tolist()),
            histograms=tuple(
                {int(n): int(c) for n, c in zip(sizes, at[e], strict=True) if c} if e in at else {}
                for e in edges[:-1].tolist()
            ),
            bandwidth=bandwidth,
        )

    def near(self, value: float) -> dict[int, float]:
        r"""Return p(N | y), atom count to probability, with the numbers of training crystals.

        .. math:: p(N | y) \propto \sum_b n_b(N) \exp\left(-\frac{(d_b - d_0)^2}{2 h^2}\right)

        with :math:`n_b(N)` crystals of N atoms in bin b, whose distance from y is :math:`d_b` (0
        inside of it), :math:`d_0` the distance of the nearest bin with crystals, and h the
        bandwidth. A value beyond the data has the sizes of the nearest one.

        Args:
            value: Value y of the property.
        """
        if not self.bandwidth:
            index = int(np.searchsorted(self.edges, value, side="right")) - 1
            only = np.arange(len(self.histograms)) == min(max(index, 0), len(self.histograms) - 1)
            return self._shares(only.astype(np.float64))
        low, high = np.array(self.edges[:-1]), np.array(self.edges[1:])
        distance = np.maximum(np.maximum(low - value, value - high), 0.0)
        nearest = distance[self._table[1].any(axis=1)].min()
        beyond = np.maximum(distance - nearest, 0.0) / self.bandwidth
        return self._shares(np.exp(-0.5 * np.square(beyond)))

    def total(self) -> dict[int, float]:
        """Return p(N) of the counted crystals, atom count to probability."""
        return self._shares(np.ones(len(self.histograms)))

    @cached_property
    def _table(self) -> tuple[list[int], NDArray[np.int64]]:
        """The sizes that occur, ascending, and how many crystals of each a bin has."""
        sizes = sorted({n for histogram in self.histograms for n in histogram})
        return sizes, np.array([[h.get(n, 0) for n in sizes] for h in self.histograms])

    def _shares(self, weights: NDArray[np.float64]) -> dict[int, float]:
        """Return the share of each size with a weight for every bin."""
        sizes, counts = self._table
        found = weights @ counts
        shares = (found / found.sum()).tolist()
        return {n: share for n, share in zip(sizes, shares, strict=True) if share > 0}


def size_histogram(sizes: NDArray[np.int64]) -> Histogram:
    """Return atom count to number of crystals, for atom counts (M,)."""
    values, counts = np.unique(sizes, return_counts=True)
    return {int(v): int(c) for v, c in zip(values, counts, strict=True)}


def _counted(
    values: NDArray[np.float64], sizes: NDArray[np.int64], width: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places (G,) of the bins with crystals and their counts (G, number of sizes)."""
    places = np.floor((values - values.min()) * (_PER_WIDTH / width)).astype(np.int64)
    used, row = np.unique(places, return_inverse=True)
    kinds, column = np.unique(sizes, return_inverse=True)
    counts = np.zeros((len(used), len(kinds)), dtype=np.int64)
    np.add.at(counts, (row, column), 1)
    return used, counts


def _left_out_likelihood(places: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Return the mean log-likelihood of each crystal's size given all other crystals."""
    apart = np.maximum(np.abs(places[:, None] - places[None, :]) - 0.5, 0.0) / _PER_WIDTH
    near = np.exp(-0.5 * np.square(apart)) @ counts
    others = np.maximum(near.sum(axis=1, keepdims=True) - 1, 1e-12)
    share = np.where(counts > 0, near - 1, 0.0) / others
    everywhere = counts.sum(axis=0) / counts.sum()
    likelihood = (1 - _FLOOR) * share + _FLOOR * everywhere
    return float((counts * np.log(np.maximum(likelihood, 1e-300))).sum() / counts.sum())
