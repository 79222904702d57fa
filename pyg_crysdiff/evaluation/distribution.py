"""Distributions of simple quantities: density, number of elements, property."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import constants
from scipy.stats import wasserstein_distance

from pyg_crysdiff.data.crystal import Crystal

_GRAMS_PER_CM3 = constants.atomic_mass * 1e3 / 1e-24  # amu per cubic Angstrom in g/cm^3


def density(crystal: Crystal) -> float:
    """Return the mass density in g/cm^3; NaN for elements without a mass or a cell of no volume."""
    from pymatgen.core import Element  # noqa: PLC0415

    try:
        mass = sum(float(Element.from_Z(int(z)).atomic_mass) for z in crystal.atomic_numbers)
    except (ValueError, TypeError):
        return float("nan")
    return mass / crystal.volume * _GRAMS_PER_CM3 if crystal.volume > 0 else float("nan")


def num_elements(crystal: Crystal) -> int:
    """Return the number of different elements."""
    return len(set(crystal.atomic_numbers.tolist()))


def earth_movers_distance(generated: ArrayLike, reference: ArrayLike) -> float:
    """Return the 1D Wasserstein distance between two samples of a quantity; NaN if one is empty.

    Source: ``get_density_wdist`` and ``get_num_elem_wdist`` in CDVAE's ``compute_metrics.py``.
    That script draws 1,000 valid crystals without a seed; here all valid ones are used.
    """
    a, b = (np.asarray(x, dtype=np.float64) for x in (generated, reference))
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if len(a) == 0 or len(b) == 0:
        return float("nan")
    return float(wasserstein_distance(a, b))
