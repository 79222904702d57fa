"""How likely the evaluation of a crystal is to succeed, learnt from those that failed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

FEWEST = 10  # failed and answered evaluations each, from which something is learnt


@dataclass(frozen=True)
class AnswerChance:
    """Extremely randomised trees (Geurts et al. 2006) that tell answered from failed crystals.

    Attributes:
        trees: The trees; None where too few have failed to learn from.
    """

    trees: ExtraTreesClassifier | None = None

    @classmethod
    def fit(
        cls, answered: NDArray[np.float64], failed: NDArray[np.float64], *, seed: int = 0
    ) -> AnswerChance:
        """Learn from the features of crystals, each (M, F), finite."""
        if min(len(answered), len(failed)) < FEWEST:
            return cls()
        trees = ExtraTreesClassifier(200, min_samples_leaf=3, random_state=seed % 2**32)
        labels = np.repeat([True, False], [len(answered), len(failed)])
        return cls(trees.fit(np.concatenate([answered, failed]), labels))

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of an answer, (M,); 1 where nothing is known."""
        out = np.ones(len(rows))
        usable = np.isfinite(rows).all(1)
        if self.trees is not None and usable.any():
            out[usable] = self.trees.predict_proba(rows[usable])[:, 1]
        return out
