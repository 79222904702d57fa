"""A predictor of numbers that are the same for many crystals, as the gap of metals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.design.agreement import agreement
from pyg_crysdiff.design.ensemble import FEWEST, Ensemble, held_out_places
from pyg_crysdiff.design.prediction import Prediction

OFTEN = 0.3  # share of the crystals with one value from which it is treated as one of its own
_TREES = {"n_estimators": 400, "min_samples_leaf": 2, "max_features": 0.3}


@dataclass(frozen=True)
class SharedValue:
    """Tells who has the shared value, and predicts the number of the others.

    A hurdle model (Cragg 1971): extremely randomised trees (Geurts et al. 2006), which both kinds
    of crystals rule equally, give the probability of the shared value, and an :class:`Ensemble` of
    the other crystals gives their number.

    Attributes:
        shared: The value.
        trees: Tell whether the number is another one.
        others: Predicts it then.
        facts: Number of crystals, errors on held-out ones; JSON-able.
    """

    shared: float
    trees: ExtraTreesClassifier
    others: Ensemble
    facts: dict[str, Any]

    @classmethod
    def fit(
        cls,
        rows: NDArray[np.float64],
        electrons: NDArray[np.float64],
        values: NDArray[np.float64],
        shared: float,
        *,
        seed: int = 0,
    ) -> SharedValue:
        """Fit to crystals whose value is known.

        Args:
            rows: Features, (M, F), finite.
            electrons: :func:`electron_numbers` of the crystals, (M, 2).
            values: Values, (M,), finite.
            shared: As :func:`shared_value` found it.
            seed: Seed.
        """
        held, kept = held_out_places(len(rows), np.random.default_rng(seed))
        facts: dict[str, Any] = {"values": len(values), "held_out": len(held)}
        other = values != shared
        if other[kept].sum() >= FEWEST:
            trial = cls._fit(rows[kept], electrons[kept], values[kept], shared, seed)
            found = trial.predict(rows[held], electrons[held])
            told = agreement(values[held], *found.overall())
            facts |= {name: told[name] for name in ("mae", "rmse", "rank_correlation")}
            if 0 < other[held].sum() < len(held):
                assert found.share is not None
                facts["auc"] = round(float(roc_auc_score(other[held], 1 - found.share)), 4)
        whole = cls._fit(rows, electrons, values, shared, seed)
        facts |= {"shared": shared, "share": round(float(1 - other.mean()), 4)}
        return cls(shared, whole.trees, whole.others, facts)

    @classmethod
    def _fit(
        cls,
        rows: NDArray[np.float64],
        electrons: NDArray[np.float64],
        values: NDArray[np.float64],
        shared: float,
        seed: int,
    ) -> SharedValue:
        other = values != shared
        trees = ExtraTreesClassifier(
            **_TREES, class_weight="balanced", random_state=seed % 2**32
        ).fit(np.column_stack([rows, electrons]), other)
        return cls(shared, trees, Ensemble.fit(rows[other], values[other], seed=seed), {})

    def predict(self, rows: NDArray[np.float64], electrons: NDArray[np.float64]) -> Prediction:
        """Return what is predicted of crystals, from :meth:`fit`'s features; NaN where one is."""
        mean, std = self.others.predict(rows)
        share = np.full(len(rows), np.nan)
        usable = np.isfinite(rows).all(1)
        if usable.any():
            both = np.column_stack([rows[usable], electrons[usable]])
            share[usable] = self.trees.predict_proba(both)[:, 0]
        return Prediction(mean, std, share, self.shared)

    def prediction(self, crystals: Sequence[Crystal], rows: NDArray[np.float64]) -> Prediction:
        """See :class:`pyg_crysdiff.design.prediction.Predictor`."""
        return self.predict(rows, electron_numbers(crystals))


def shared_value(values: NDArray[np.float64]) -> float | None:
    """Return the value that at least 30 % of them have, if at least 20 others are left."""
    if not len(values):
        return None
    different, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    is_shared = OFTEN * len(values) <= counts[most] <= len(values) - FEWEST
    return float(different[most]) if is_shared else None


def electron_numbers(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Return two numbers that say whether electrons can be paired and charges balanced, (M, 2).

    The least charge per atom that is left over when every element takes one of its common
    oxidation states, and 1 where a formula unit has an odd number of electrons, else 0. An odd
    number per cell leaves a band half filled, so that such a crystal is a metal unless it is
    magnetic.
    """
    return np.array([_of_formula(reduced_formula(c)) for c in crystals]).reshape(-1, 2)


@cache
def _of_formula(formula: str) -> tuple[float, float]:
    from pymatgen.core import Composition, Element  # noqa: PLC0415

    charges = {0}
    amounts = {e: int(n) for e, n in Composition(formula).get_el_amt_dict().items()}
    for symbol, count in amounts.items():
        element = Element(symbol)
        states = element.common_oxidation_states or element.oxidation_states or (0,)
        charges = {charge + count * state for charge in charges for state in states}
    electrons = sum(count * Element(symbol).Z for symbol, count in amounts.items())
    left = min(abs(charge) for charge in charges)
    return left / sum(amounts.values()), float(electrons % 2)
