"""Distances between the distributions of generated and reference crystals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist, jensenshannon

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.distribution import density
from pyg_crysdiff.evaluation.genbench.diversity import element_counts

_BLOCK = 4_000_000
# The last space group of each crystal system, from triclinic to cubic.
_LAST_GROUPS = (2, 15, 74, 142, 167, 194, 230)


@dataclass(frozen=True)
class Profile:
    """What GenBench compares of M crystals; those without a space group are left out.

    Attributes:
        groups: Space-group numbers, (M,).
        atoms: Atoms of each element, (M, 118).
        volume: Cell volumes, cubic Angstrom, (M,).
        density: Mass densities, g/cm^3, (M,).
        atomic_density: Atoms per cubic Angstrom, (M,).
    """

    groups: NDArray[np.int64]
    atoms: NDArray[np.int64]
    volume: NDArray[np.float64]
    density: NDArray[np.float64]
    atomic_density: NDArray[np.float64]

    @classmethod
    def of(cls, crystals: Sequence[Crystal], groups: ArrayLike) -> Profile:
        """Describe crystals whose space groups are known (0 where none was found)."""
        numbers = np.asarray(groups, dtype=np.int64).reshape(-1)
        kept = [c for c, group in zip(crystals, numbers.tolist(), strict=True) if group > 0]
        volume = np.array([c.volume for c in kept])
        sizes = np.array([len(c) for c in kept], dtype=np.float64)
        return cls(
            numbers[numbers > 0],
            element_counts(kept),
            volume,
            np.array([density(c) for c in kept]),
            sizes / volume,
        )

    def label_counts(self) -> dict[str, NDArray[np.int64]]:
        """Return the count of each label in each crystal by kind of label, (M, labels)."""
        systems = crystal_systems(self.groups)
        return {
            "space_group": np.eye(230, dtype=np.int64)[self.groups - 1],
            "crystal_system": np.eye(7, dtype=np.int64)[systems - 1],
            "atoms": self.atoms,
            "elements": (self.atoms > 0).astype(np.int64),
        }

    def quantities(self) -> dict[str, NDArray[np.float64]]:
        """Return the continuous quantities by name."""
        return {
            "volume": self.volume,
            "density": self.density,
            "atomic_density": self.atomic_density,
        }


def crystal_systems(groups: ArrayLike) -> NDArray[np.int64]:
    """Return 1 (triclinic), 2 (monoclinic), 3, 4, 5 (trigonal), 6 or 7 (cubic) of space groups."""
    return np.searchsorted(_LAST_GROUPS, np.asarray(groups)).astype(np.int64) + 1


def jensen_shannon_distance(counts: ArrayLike, reference: ArrayLike) -> float:
    """Return the Jensen-Shannon distance of two count vectors over the same categories.

    The square root of the divergence in nats, 0 to .8326; NaN if one of them is empty.

    Source: ``compute_jensen_shannon_distance`` of LeMat-GenBench (arXiv 2512.04562).
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (counts, reference))
    if a.sum() <= 0 or b.sum() <= 0:
        return math.nan
    return float(jensenshannon(a, b))


def mean_discrepancy(values: ArrayLike, reference: ArrayLike, sigma: float = 1.0) -> float:
    """Return the squared maximum mean discrepancy of two samples with a Gaussian kernel.

    Biased estimate, as every value is compared with itself, too. Kernel exp(-d^2 / (2 sigma^2)),
    with sigma in the unit of the values. NaN if one of the samples is empty.

    Source: ``compute_mmd`` of LeMat-GenBench, which calls it MMD, not its square.

    Args:
        values: (N,) or (N, D).
        reference: (M,) or (M, D).
        sigma: Width of the kernel.
    """
    a, b = (_columns(x) for x in (values, reference))
    if len(a) == 0 or len(b) == 0:
        return math.nan
    return _mean_kernel(a, a, sigma) + _mean_kernel(b, b, sigma) - 2 * _mean_kernel(a, b, sigma)


def _columns(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array


def _mean_kernel(a: NDArray[np.float64], b: NDArray[np.float64], sigma: float) -> float:
    rows = max(1, _BLOCK // len(b))
    total = 0.0
    for start in range(0, len(a), rows):
        squares = cdist(a[start : start + rows], b, "sqeuclidean")
        total += float(np.exp(squares / (-2 * sigma**2)).sum())
    return total / (len(a) * len(b))


def frechet_distance(embeddings: ArrayLike, reference: ArrayLike) -> float:
    """Return the squared Fréchet distance of two sets of embeddings, each taken as a Gaussian.

    |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)), with covariances over N - 1. The trace of the
    root comes from the eigenvalues of C1^(1/2) C2 C1^(1/2), which are real, where the original
    takes the root of a product. It has to be judged by sets of about the same size: with fewer
    crystals than dimensions it grows.

    Source: ``frechet_distance`` of LeMat-GenBench, after Heusel et al. (arXiv 1706.08500).

    Args:
        embeddings: (N, D), N > 1.
        reference: (M, D), M > 1.

    Returns:
        NaN where one has fewer than two rows.

    Raises:
        ValueError: If the dimensions differ or a value is not finite.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (embeddings, reference))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"embeddings must have two dimensions, the second alike: {a.shape}, {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("an embedding holds a value that is not finite; leave such crystals out")
    if min(len(a), len(b)) < 2:
        return math.nan
    covariance_a, covariance_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = np.clip(np.linalg.eigvalsh(root @ covariance_b @ root), 0, None)
    away = a.mean(0) - b.mean(0)
    spread = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(product).sum()
    return float(away @ away + spread)
