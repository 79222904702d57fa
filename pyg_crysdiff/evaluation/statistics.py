"""Intervals of what is measured on samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, norm

from pyg_crysdiff.evaluation.results import Estimate

if TYPE_CHECKING:
    from pyg_crysdiff.evaluation.protocol import Protocol

_BLOCK = 2_000_000


def mean_estimate(
    values: ArrayLike, num_bootstrap: int, seed: int, *, proportion: bool = True
) -> Estimate:
    """Return the mean of values (M,) with its 95 % percentile-bootstrap interval.

    Where all outcomes are 0, or all are 1, resamples say nothing about what was not seen: the
    interval of such a proportion is the exact one (Clopper & Pearson 1934), e.g. .982 to 1 for
    200 of 200. An empty list gives NaN without interval.

    Args:
        values: Values.
        num_bootstrap: Resamples; 0 for no interval.
        seed: Seed.
        proportion: Whether the values are outcomes, 0 or 1. False for distances and other
            numbers, which may all be 0 as well.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return Estimate(float("nan"))
    value = float(array.mean())
    if num_bootstrap <= 0:
        return Estimate(value)
    if proportion and value in (0.0, 1.0) and bool((array == value).all()):
        ends = binomtest(int(array.sum()), len(array)).proportion_ci(method="exact")
        return Estimate(value, float(ends.low), float(ends.high))
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(array))
    means = [
        array[rng.integers(0, len(array), (min(rows, num_bootstrap - done), len(array)))].mean(1)
        for done in range(0, num_bootstrap, rows)
    ]
    return _interval(value, np.concatenate(means))


def mean_of(values: ArrayLike, protocol: Protocol, proportion: bool = True) -> Estimate:
    """Return :func:`mean_estimate` with the resamples and the seed of a protocol."""
    return mean_estimate(values, protocol.num_bootstrap, protocol.seed, proportion=proportion)


def statistic_estimate(
    statistic: Callable[[NDArray[np.int64]], float], count: int, num_bootstrap: int, seed: int
) -> Estimate:
    """Return a statistic of resampled items with its 95 % bootstrap interval.

    Distances between distributions grow by resampling, which repeats items. The percentile
    interval is shifted by this bias, as the resamples show it, but not below zero.

    Args:
        statistic: Maps indices of the (resampled) items to a value.
        count: Number of items.
        num_bootstrap: Resamples; 0 for no interval.
        seed: Seed.
    """
    if count == 0:
        return Estimate(float("nan"))
    value = statistic(np.arange(count))
    if num_bootstrap <= 0 or not np.isfinite(value):
        return Estimate(value)
    rng = np.random.default_rng(seed)
    draws = [statistic(rng.integers(0, count, count)) for _ in range(num_bootstrap)]
    values = np.array(draws)
    lowest = min(0.0, float(values.min()))
    return _interval(value, np.maximum(values - (values.mean() - value), lowest))


def jackknife_variance(left_out: NDArray[np.float64]) -> float:
    """Return the variance of a statistic from its values with each item left out (Tukey 1958)."""
    count = len(left_out)
    return float((count - 1) * left_out.var()) if count else 0.0


def widened(rate: Estimate, variance: float) -> Estimate:
    """Return a rate with a 95 % interval that holds a further, independent variance."""
    if rate.low is None or rate.high is None:
        return rate
    more = norm.ppf(0.975) ** 2 * variance
    low = rate.value - np.sqrt((rate.value - rate.low) ** 2 + more)
    high = rate.value + np.sqrt((rate.high - rate.value) ** 2 + more)
    return Estimate(rate.value, max(0.0, float(low)), min(1.0, float(high)))


def _interval(value: float, draws: NDArray[np.float64]) -> Estimate:
    ends: Sequence[float] = np.quantile(draws, [0.025, 0.975]).tolist()
    return Estimate(value, ends[0], ends[1])
