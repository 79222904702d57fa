"""A predictor of one number with its uncertainty: an ensemble of Gaussian processes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Kernel, Matern, WhiteKernel

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.agreement import agreement
from pyg_crysdiff.design.prediction import Prediction

MEMBERS = 4
FEWEST = 20  # values from which a number is predicted
_SHARE = 0.5  # of the features that a member sees
_TUNED = 500  # crystals from which the kernel's numbers are found
_CHECKED = 500  # most crystals that are held out
_FAR = 5.0  # standard deviations; features beyond are cut
_WIDE = 10.0  # interquartile ranges of the different values; what is further out is cut


@dataclass(frozen=True)
class Ensemble:
    """Gaussian processes on random halves of the features.

    Each has a Matern kernel (nu = 5/2) beside a linear one, so that it goes on beyond the values
    that it has seen, and noise (Rasmussen and Williams, Gaussian Processes for Machine Learning,
    eqs. 2.25 and 4.17). The mean of the ensemble is that of its members; its variance is the mean
    of their variances and the variance of their means, times the square of ``scale``.

    Attributes:
        members: Features and process of each.
        centre: Mean of the features, (F,).
        spread: Their standard deviation, (F,).
        scale: What the standard deviations are multiplied with, from held-out crystals.
        facts: Number of crystals, error and calibration on the held-out ones; JSON-able.
    """

    members: tuple[tuple[NDArray[np.int64], GaussianProcessRegressor], ...]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    scale: float
    facts: dict[str, Any]

    @classmethod
    def fit(
        cls, rows: NDArray[np.float64], values: NDArray[np.float64], *, seed: int = 0
    ) -> Ensemble:
        """Fit to crystals whose value is known.

        A fifth of them (at most 500, seeded) is held out first: the processes without them give
        error and scale. Then all are learnt.

        Args:
            rows: Features, (M, F), finite.
            values: Values, (M,), finite.
            seed: Seed of the halves and of what is held out.
        """
        rng = np.random.default_rng(seed)
        values = _cut(values)
        centre, spread = rows.mean(0), rows.std(0) + 1e-9
        standard = _standard(rows, centre, spread)
        kernels = _kernels(standard, values, rng)
        held, kept = held_out_places(len(rows), rng)
        trial = _members(kernels, standard[kept], values[kept])
        mean, std = _together(trial, standard[held])
        off = np.abs(values[held] - mean) / std
        # By the 80 % point: the tails of the errors are longer than those of a normal distribution.
        scale = float(np.clip(np.quantile(off, 0.8) / norm.ppf(0.9), 0.3, 5.0))
        facts = {
            "values": len(values),
            "held_out": len(held),
            "scale": round(scale, 4),
            **agreement(values[held], mean, std * scale),
        }
        return cls(_members(kernels, standard, values), centre, spread, scale, facts)

    def predict(self, rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation, each (M,); NaN where a feature is."""
        mean, std = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        usable = np.isfinite(rows).all(1)
        if usable.any():
            standard = _standard(rows[usable], self.centre, self.spread)
            mean[usable], std[usable] = _together(self.members, standard)
        return mean, std * self.scale

    def prediction(self, _: Sequence[Crystal], rows: NDArray[np.float64]) -> Prediction:
        """See :class:`pyg_crysdiff.design.prediction.Predictor`."""
        return Prediction(*self.predict(rows))


def held_out_places(
    count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which of some crystals are held out, a fifth and at most 500, and which are not."""
    held, kept = np.split(rng.permutation(count), [min(_CHECKED, max(5, count // 5))])
    return held, kept


def _cut(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut values so far out that they would rule the fit, as the energy of a broken crystal.

    A value that most crystals share, as the gap of metals, says nothing of the spread.
    """
    low, high = np.quantile(np.unique(values), [0.25, 0.75])
    middle = float(np.median(values))
    wide = _WIDE * max(float(high - low), 1e-9 * max(1.0, abs(middle)))
    return np.clip(values, middle - wide, middle + wide)


def _standard(
    rows: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.clip((rows - centre) / spread, -_FAR, _FAR)


def _kernels(
    rows: NDArray[np.float64], values: NDArray[np.float64], rng: np.random.Generator
) -> list[tuple[NDArray[np.int64], Kernel]]:
    """Return features and tuned kernel of each member, found from some of the crystals."""
    found = []
    for _ in range(MEMBERS):
        count = max(1, round(_SHARE * rows.shape[1]))
        seen = np.sort(rng.permutation(rows.shape[1])[:count])
        some = rng.permutation(len(rows))[:_TUNED]
        kernel = (
            ConstantKernel(1.0, (1e-3, 1e3)) * Matern(15.0, (1.0, 300.0), nu=2.5)
            + ConstantKernel(0.01, (1e-6, 10.0)) * DotProduct(1.0, "fixed")
            + WhiteKernel(0.05, (1e-5, 1.0))
        )
        process = GaussianProcessRegressor(kernel, normalize_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a number at its bound is fine
            process.fit(rows[np.ix_(some, seen)], values[some])
        found.append((seen, process.kernel_))
    return found


def _members(
    kernels: Sequence[tuple[NDArray[np.int64], Kernel]],
    rows: NDArray[np.float64],
    values: NDArray[np.float64],
) -> tuple[tuple[NDArray[np.int64], GaussianProcessRegressor], ...]:
    return tuple(
        (
            seen,
            GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True).fit(
                rows[:, seen], values
            ),
        )
        for seen, kernel in kernels
    )


def _together(
    members: Sequence[tuple[NDArray[np.int64], GaussianProcessRegressor]],
    rows: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of a mixture of the members' predictions."""
    found = [process.predict(rows[:, seen], return_std=True) for seen, process in members]
    means = np.array([mean for mean, _ in found])
    variance = np.mean([std**2 for _, std in found], 0) + means.var(0)
    return means.mean(0), np.sqrt(variance)
