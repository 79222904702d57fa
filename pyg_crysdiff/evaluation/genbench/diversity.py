"""Diversity of a set of crystals: how evenly it fills categories."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.distribution import density
from pyg_crysdiff.evaluation.genbench.tables import MOST_ELEMENTS, covalent_radii

_BINS = {"density": 0.5, "length_a": 0.5, "length_b": 0.5, "length_c": 0.5, "packing": 0.05}


def shannon_entropy(counts: ArrayLike) -> float:
    """Return the Shannon entropy of category counts in nats; NaN without any count.

    Its exponential is the Vendi score (Friedman & Dieng, TMLR 2023) of items that are alike only
    within a category: the number of equally frequent categories of the same entropy.

    Source: ``compute_vendi_score_with_uncertainty`` of LeMat-GenBench (arXiv 2512.04562).
    """
    array = np.asarray(counts, dtype=np.float64)
    total = array.sum()
    return float(entr(array / total).sum()) if total > 0 else math.nan


def element_counts(crystals: Sequence[Crystal]) -> NDArray[np.int64]:
    """Return the number of atoms of each element in each crystal, (M, 118)."""
    rows = [np.bincount(c.atomic_numbers - 1, minlength=MOST_ELEMENTS) for c in crystals]
    return np.array(rows, dtype=np.int64).reshape(-1, MOST_ELEMENTS)


def packing_factor(crystal: Crystal) -> float:
    """Return the share of the cell within covalent radii, at most 1; NaN where one is unknown.

    Source: ``compute_packing_factor`` of LeMat-GenBench.
    """
    radii = covalent_radii()[crystal.atomic_numbers]
    return float(np.minimum(4 / 3 * math.pi * (radii**3).sum() / crystal.volume, 1.0))


def physical_bins(crystals: Sequence[Crystal]) -> dict[str, NDArray[np.int64]]:
    """Return the bin of each crystal in density, three cell lengths and packing factor.

    Bins of 0.5 g/cm^3, 0.5 Angstrom and 0.05 from zero on; crystals without a value are left out.

    Source: ``PhysicalSizeComponentMetric`` of LeMat-GenBench.
    """
    lengths = np.array([c.parameters()[0] for c in crystals]).reshape(-1, 3)
    values = {
        "density": np.array([density(c) for c in crystals]),
        "length_a": lengths[:, 0],
        "length_b": lengths[:, 1],
        "length_c": lengths[:, 2],
        "packing": np.array([packing_factor(c) for c in crystals]),
    }
    return {
        name: np.floor_divide(x[np.isfinite(x)], _BINS[name]).astype(np.int64)
        for name, x in values.items()
    }


def unevenness(counts: ArrayLike) -> float:
    """Return the Kullback-Leibler divergence from equal shares of the categories that occur, nats.

    It is the logarithm of their number less the entropy.

    Source: ``_compute_diversity_with_kl`` of LeMat-GenBench, which calls it the divergence from
    the uniform distribution; empty bins do not count in it.
    """
    array = np.asarray(counts, dtype=np.float64)
    if array.sum() <= 0:
        return math.nan
    return math.log(np.count_nonzero(array)) - shannon_entropy(array)


def mean_box(crystals: Sequence[Crystal]) -> float:
    """Return the mean product of the three cell lengths, cubic Angstrom.

    Source: ``mean_volume`` of ``PhysicalSizeComponentMetric`` of LeMat-GenBench, which is the
    volume of right-angled cells only.
    """
    products = [float(c.parameters()[0].prod()) for c in crystals]
    return float(np.mean(products)) if products else math.nan
