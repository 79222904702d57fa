"""What is predicted of a number of some crystals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.objectives import Objective

_LEAST = 1e-12


class Prediction(NamedTuple):
    """Normal variables; or, with some probability, one value that many crystals share.

    Such a value is the gap of metals, 0.

    Attributes:
        mean: Mean where the number is not the shared value, (M,); NaN where nothing is predicted.
        std: Standard deviation likewise, (M,).
        share: Probability of the shared value, (M,); None where there is no such value.
        shared: The shared value.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    share: NDArray[np.float64] | None = None
    shared: float = math.nan

    def overall(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the number, each (M,)."""
        if self.share is None:
            return self.mean, self.std
        other = 1 - self.share
        mean = other * self.mean + self.share * self.shared
        square = other * (self.std**2 + self.mean**2) + self.share * self.shared**2
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0))

    def chance(self, objective: Objective) -> NDArray[np.float64]:
        """Return the probability that the number lies within the bounds, (M,)."""
        spread = np.maximum(self.std, _LEAST)
        found: NDArray[np.float64] = norm.cdf((objective.high - self.mean) / spread) - norm.cdf(
            (objective.low - self.mean) / spread
        )
        return self._mixed(found, float(objective.met(self.shared)))

    def improvement(self, objective: Objective, best: float) -> NDArray[np.float64]:
        """Return by how much the number is expected to be better than the best so far, (M,)."""
        spread = np.maximum(self.std, _LEAST)
        better = objective.direction * (self.mean - best)
        z = better / spread
        found: NDArray[np.float64] = better * norm.cdf(z) + spread * norm.pdf(z)
        there = max(objective.direction * (self.shared - best), 0.0)
        return self._mixed(np.maximum(found, 0.0), there)

    def _mixed(self, other: NDArray[np.float64], shared: float) -> NDArray[np.float64]:
        if self.share is None:
            return other
        found: NDArray[np.float64] = (1 - self.share) * other + self.share * shared
        return found


Predicted = Mapping[str, Prediction]


class Predictor(Protocol):
    """What has learnt a number."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Number of crystals, errors; as JSON can hold it."""

    def prediction(self, crystals: Sequence[Crystal], rows: NDArray[np.float64]) -> Prediction:
        """Return what is predicted of M crystals with features (M, F)."""
