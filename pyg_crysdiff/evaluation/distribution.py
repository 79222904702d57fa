"""Distributions of simple quantities: density, number of elements, property."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy import constants

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula

__all__ = [
    "density",
    "earth_movers_distance",
    "num_elements",
    "reduced_formula",
    "space_group",
    "total_variation",
]

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


def space_group(crystal: Crystal, symprec: float = 0.1) -> int:
    """Return the space-group number found by spglib; 1 where it finds nothing.

    Args:
        crystal: A structurally valid crystal.
        symprec: Tolerance, Angstrom. Generated crystals are noisy, hence the wide default.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = SpacegroupAnalyzer(crystal.to_structure(), symprec=symprec)
            return int(found.get_space_group_number())
        except Exception:  # spglib fails in several ways on distorted cells
            return 1


def total_variation(generated: ArrayLike, reference: ArrayLike) -> float:
    """Return the total-variation distance of two samples of a label, 0 to 1; NaN if one is empty.

    Half the sum of the absolute differences of the labels' frequencies.
    """
    a, b = np.asarray(generated), np.asarray(reference)
    if len(a) == 0 or len(b) == 0:
        return float("nan")
    labels, which = np.unique(np.concatenate([a, b]), return_inverse=True)
    share_a = np.bincount(which[: len(a)], minlength=len(labels)) / len(a)
    share_b = np.bincount(which[len(a) :], minlength=len(labels)) / len(b)
    return float(0.5 * np.abs(share_a - share_b).sum())


def earth_movers_distance(generated: ArrayLike, reference: ArrayLike) -> float:
    """Return the 1D Wasserstein distance between two samples of a quantity; NaN if one is empty.

    Source: ``get_density_wdist`` and ``get_num_elem_wdist`` in CDVAE's ``compute_metrics.py``.
    That script draws 1,000 valid crystals without a seed; here all valid ones are used.
    """
    from scipy.stats import wasserstein_distance  # noqa: PLC0415

    a, b = (np.asarray(x, dtype=np.float64) for x in (generated, reference))
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if len(a) == 0 or len(b) == 0:
        return float("nan")
    return float(wasserstein_distance(a, b))
