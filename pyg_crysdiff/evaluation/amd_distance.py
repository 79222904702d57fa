"""Continuous distances between crystals: average minimum distances (optional extra ``amd``)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.distribution import reduced_formula
from pyg_crysdiff.parallel import parallel_map

NEIGHBOURS = 100
SAME = 0.1  # Angstrom


def available() -> bool:
    """Return whether the package ``average-minimum-distance`` is installed."""
    return find_spec("amd") is not None


def average_minimum_distances(crystal: Crystal) -> NDArray[np.float64]:
    """Return the AMD: the mean distance to the k-th neighbour over the atoms, (100,), Angstrom.

    Invariant under the choice of cell, origin and orientation, and continuous.

    NaN for a cell that is too flat or too long to be a crystal's.

    Source: Widdowson et al., MATCH 87, 529 (2022); package ``average-minimum-distance``.
    """
    if not crystal.reducible:
        return np.full(NEIGHBOURS, np.nan)
    import amd  # noqa: PLC0415

    positions = crystal.frac_coords % 1.0 @ crystal.lattice
    found = amd.AMD(amd.PeriodicSet(positions, crystal.lattice), NEIGHBOURS)
    return np.asarray(found, dtype=np.float64)


def nearest_earlier(
    crystals: Sequence[Crystal], *, num_workers: int | None = None, progress: bool = False
) -> NDArray[np.float64]:
    """Return the AMD distance to the nearest earlier crystal of the same formula, (M,).

    Infinite where there is none.
    """
    out = np.full(len(crystals), np.inf)
    vectors = _vectors(crystals, num_workers, progress)
    for group in _by_formula(crystals).values():
        distance = _distances(vectors[group], vectors[group])
        distance[np.triu_indices(len(group))] = np.inf
        out[group] = distance.min(1)
    return out


def nearest_known(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    *,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.float64]:
    """Return the AMD distance to the nearest known crystal of the same formula, (M,)."""
    out = np.full(len(crystals), np.inf)
    wanted, theirs = _by_formula(crystals), _by_formula(known)
    chosen = [i for formula in wanted for i in theirs.get(formula, [])]
    vectors = _vectors(crystals, num_workers, progress)
    others = dict(
        zip(chosen, _vectors([known[i] for i in chosen], num_workers, progress), strict=True)
    )
    for formula, group in wanted.items():
        if formula in theirs:
            rows = np.stack([others[i] for i in theirs[formula]])
            out[group] = _distances(vectors[group], rows).min(1)
    return out


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chebyshev distances; infinite where a vector is not known."""
    from scipy.spatial.distance import cdist  # noqa: PLC0415

    out = cdist(a, b, "chebyshev")
    out[np.isnan(a).any(1)] = np.inf
    out[:, np.isnan(b).any(1)] = np.inf
    return np.asarray(out, dtype=np.float64)


def _vectors(
    crystals: Sequence[Crystal], num_workers: int | None, progress: bool
) -> NDArray[np.float64]:
    rows = parallel_map(
        average_minimum_distances, crystals, num_workers=num_workers, progress=progress,
        label="AMD",
    )  # fmt: skip
    return np.array(rows).reshape(-1, NEIGHBOURS)


def _by_formula(crystals: Sequence[Crystal]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, crystal in enumerate(crystals):
        groups[reduced_formula(crystal)].append(index)
    return groups
