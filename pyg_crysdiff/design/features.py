"""What a predictor sees of a crystal: its elements, who neighbours whom, and its geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.fingerprints.magpie import (
    composition_fingerprint,
    standard_element_table,
)
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.parallel import parallel_map

CUTOFF = 6.0  # A
NUMBERS = 6 * 22 + 8 * 22 + 13
_SHELLS = (1.15, 1.6)  # outer edges, in distances of the nearest neighbour
_EDGE = 0.05  # over which the weight of a neighbour falls, in the same unit


def features(crystals: Sequence[Crystal], *, num_workers: int | None = None) -> NDArray[np.float64]:
    """Return a row of numbers for each crystal, (M, F); NaN where one has no valid structure.

    A row holds Magpie's statistics of the elements (132 numbers, as in
    :func:`pyg_crysdiff.evaluation.fingerprints.magpie.composition_fingerprint`); for Magpie's 22
    properties how an atom differs from its neighbours and how its property goes with theirs and
    with the number of neighbours, for two shells (176); and coordination numbers, distances and
    volume (13). It does not depend on the order of the atoms, on the choice of the cell or on how
    the crystal is turned.

    Args:
        crystals: Crystals.
        num_workers: Processes; None for all cores.
    """
    rows = parallel_map(_row, crystals, num_workers=num_workers, progress=False, serial_below=2000)
    return np.array(rows).reshape(len(crystals), NUMBERS)


def _row(crystal: Crystal) -> NDArray[np.float64]:
    table = standard_element_table()
    if structural_problem(crystal) is not None:
        return np.full(NUMBERS, np.nan)
    center, other, length = _pairs(crystal)
    of_atom = table[crystal.atomic_numbers]
    nearest = np.full(len(crystal), CUTOFF)
    np.minimum.at(nearest, center, length)
    parts, numbers = [composition_fingerprint(crystal)], []
    for edge in _SHELLS:
        scale = np.minimum(nearest[center], nearest[other])
        weight = expit((edge - length / scale) / _EDGE)
        count = np.bincount(center, weight, len(crystal)) + 1e-9
        around = np.zeros_like(of_atom)
        np.add.at(around, center, weight[:, None] * of_atom[other])
        around /= count[:, None]
        off = np.abs(of_atom - around)
        logs = np.log(count)
        parts += [off.mean(0), off.max(0), (of_atom * around).mean(0)]
        parts.append((of_atom * logs[:, None]).mean(0))
        numbers += [count.mean(), count.min(), count.max(), logs.std()]
    volume = np.log(crystal.volume / len(crystal))
    spread = [nearest.mean(), nearest.min(), nearest.max(), nearest.std()]
    return np.concatenate([*parts, [*numbers, volume, *spread]])


def _pairs(crystal: Crystal) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return atom, neighbour and distance (A) of all pairs within the cut-off."""
    from pymatgen.optimization.neighbors import find_points_in_spheres  # noqa: PLC0415

    places = np.ascontiguousarray(crystal.frac_coords % 1.0 @ crystal.lattice)
    center, other, _, length = find_points_in_spheres(
        places, places, r=CUTOFF, pbc=np.ones(3, dtype=np.int64),
        lattice=np.ascontiguousarray(crystal.lattice), tol=1e-8,
    )  # fmt: skip
    away = length > 1e-8
    return center[away], other[away], length[away]
