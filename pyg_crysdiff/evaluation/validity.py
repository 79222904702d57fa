"""Structural validity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal

MIN_DISTANCE = 0.5  # Angstrom
MIN_VOLUME = 0.1  # cubic Angstrom


def structural_problem(crystal: Crystal | BrokenEntry) -> str | None:
    """Return why a crystal is structurally invalid, or None if it is valid.

    Valid: readable, finite, positive lengths, volume of at least 0.1 cubic Angstrom, and no two
    different atoms closer than 0.5 Angstrom under periodic boundaries (an atom and its own
    images are not compared, as in the original).

    Source: ``Crystal`` and ``structure_validity`` in CDVAE's ``compute_metrics.py`` and
    ``eval_utils.py``. Where that script stops with an error the crystal is invalid here.
    """
    if isinstance(crystal, BrokenEntry):
        return f"unreadable: {crystal.reason}"
    found = next((reason for fails, reason in _CHECKS if fails(crystal)), None)
    if found is None and len(crystal) > 1:
        try:
            if min_distance(crystal) < MIN_DISTANCE:
                found = f"atoms closer than {MIN_DISTANCE} Angstrom"
        except (ArithmeticError, ValueError):  # vectors of very different or huge length
            found = "distances cannot be computed in this cell"
    return found


def min_distance(crystal: Crystal) -> float:
    """Return the smallest periodic distance between two different atoms, Angstrom."""
    return float(pair_distances(crystal).min())


def pair_distances(crystal: Crystal) -> NDArray[np.float64]:
    """Return the periodic distances of all atoms, (N, N), Angstrom; infinite on the diagonal."""
    from pymatgen.core import Lattice  # noqa: PLC0415

    frac = crystal.frac_coords
    distances = np.asarray(Lattice(crystal.lattice).get_all_distances(frac, frac))
    np.fill_diagonal(distances, np.inf)
    return distances


# In this order: each check may rely on those before it.
_CHECKS: list[tuple[Callable[[Crystal], bool], str]] = [
    (lambda c: len(c) == 0, "no atoms"),
    (lambda c: not np.isfinite(c.lattice).all(), "the lattice is not finite"),
    (lambda c: not np.isfinite(c.frac_coords).all(), "a coordinate is not finite"),
    (lambda c: not np.linalg.norm(c.lattice, axis=1).all(), "a lattice vector has no length"),
    (lambda c: not np.isfinite(c.volume), "the volume is not finite"),
    (lambda c: c.volume < MIN_VOLUME, f"volume below {MIN_VOLUME} cubic Angstrom"),
    (lambda c: not ((c.atomic_numbers > 0) & (c.atomic_numbers < 119)).all(), "unknown element"),
]
