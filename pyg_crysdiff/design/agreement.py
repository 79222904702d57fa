"""How predictions with an uncertainty agree with the true values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

LEVELS = ("50%", "80%", "95%")
_WIDTHS = norm.ppf([0.75, 0.9, 0.975])  # of these central intervals, in standard deviations


def coverage(
    values: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> dict[str, float]:
    """Return which share of values lies in the central 50, 80 and 95 % of what was predicted.

    Calibrated predictions have shares of .50, .80 and .95.

    Args:
        values: True values, (M,).
        mean: Means of normal distributions, (M,).
        std: Their standard deviations, (M,).
    """
    off = np.abs(values - mean)
    return {k: float(np.mean(off <= z * std)) for k, z in zip(LEVELS, _WIDTHS, strict=True)}


def agreement(
    values: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> dict[str, Any]:
    """Return how predictions agree with values, as JSON can hold it.

    Args:
        values: True values, (M,).
        mean: Predicted values, (M,).
        std: Their standard deviations, (M,).

    Returns:
        ``mae``, ``rmse``, ``rank_correlation`` (Spearman), and ``coverage``: for the central 50,
        80 and 95 % intervals of normal distributions the share of values that lie within.
    """
    ok = np.isfinite(values) & np.isfinite(mean) & np.isfinite(std)
    if not ok.any():
        return {"mae": None, "rmse": None, "rank_correlation": None, "coverage": {}}
    off = values[ok] - mean[ok]
    varied = ok.sum() > 2 and np.ptp(values[ok]) > 0 and np.ptp(mean[ok]) > 0
    rank = float(spearmanr(values[ok], mean[ok])[0]) if varied else None
    return {
        "mae": float(np.abs(off).mean()),
        "rmse": float(np.sqrt((off**2).mean())),
        "rank_correlation": rank,
        "coverage": coverage(values[ok], mean[ok], std[ok]),
    }
