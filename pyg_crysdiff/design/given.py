"""A predictor that was trained elsewhere, and what evaluations say of its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.agreement import agreement
from pyg_crysdiff.design.answers import Oracle
from pyg_crysdiff.design.ensemble import FEWEST, Ensemble
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.prediction import Prediction
from pyg_crysdiff.evaluation.predictor import PropertyPredictor, identity_of
from pyg_crysdiff.property.judges import find_evaluator
from pyg_crysdiff.property.model import PropertyModel
from pyg_crysdiff.storage import facts_digest

if TYPE_CHECKING:
    import torch

    from pyg_crysdiff.data.in_memory import InMemoryCrystals

_FOLDS = 3
_CHECKED = 500  # most labelled crystals on which a given predictor is tried
_MAE_TO_STD = float(np.sqrt(np.pi / 2))  # of a normal distribution


class GivenPredictor:
    """A trained model of one number, which remembers what it predicted.

    Args:
        model: The model.
    """

    def __init__(self, model: PropertyPredictor) -> None:
        self.model = model
        self.name = model.property_name
        self._kept: dict[str, float] = {}

    def predict(self, crystals: Sequence[Crystal]) -> NDArray[np.float64]:
        """Return its values, (M,); NaN where it gives none."""
        digests = [crystal.digest() for crystal in crystals]
        new = {d: c for d, c in zip(digests, crystals, strict=True) if d not in self._kept}
        if new:
            values = np.asarray(self.model.predict(list(new.values())), dtype=np.float64)
            self._kept.update(zip(new, values.tolist(), strict=True))
        return np.array([self._kept[digest] for digest in digests], dtype=np.float64)

    def error(self, crystals: Sequence[Crystal], values: NDArray[np.float64]) -> float:
        """Return its root mean square error on labelled crystals, or what it says of itself.

        Where there are fewer than 20 values it is the error that its card holds, or at worst the
        spread of the values that it was trained on.

        Raises:
            ValueError: If it says nothing either.
        """
        known = np.flatnonzero(np.isfinite(values))
        if len(known) >= FEWEST:
            some = np.random.default_rng(0).permutation(known)[:_CHECKED]
            off = self.predict([crystals[i] for i in some]) - values[some]
            if np.isfinite(off).any():
                return float(np.sqrt(np.nanmean(off**2)))
        card: Mapping[str, Any] = getattr(self.model, "card", {})
        for key in ("held_out_mae", "test_mae"):
            if card.get(key):
                return float(card[key]) * _MAE_TO_STD
        if spread := getattr(self.model, "std", None):
            return float(spread)
        raise ValueError(
            f"how wrong the given predictor of {self.name} is cannot be told: give data with at "
            f"least {FEWEST} values of {self.name}"
        )


@dataclass(frozen=True)
class Corrected:
    """A given predictor, and an :class:`Ensemble` of what it gets wrong.

    The ensemble learns from evaluated crystals alone: the predictor may have been trained on the
    others, so that its errors there are too small. It is used if there are 20 evaluations and it
    makes the error smaller on evaluations that are left out in turn (3 folds). Until then the
    standard deviation is the same for all crystals.

    Attributes:
        given: The predictor.
        errors: Predicts true value minus the predictor's; None where nothing is corrected.
        std: Standard deviation in that case.
        facts: Errors of the predictor alone and corrected, on evaluations that were left out.
    """

    given: GivenPredictor
    errors: Ensemble | None
    std: float
    facts: dict[str, Any]

    @classmethod
    def fit(
        cls,
        given: GivenPredictor,
        labelled: tuple[Sequence[Crystal], NDArray[np.float64]],
        evaluated: tuple[Sequence[Crystal], NDArray[np.float64]],
        rows: NDArray[np.float64],
        *,
        seed: int = 0,
    ) -> Corrected:
        """Learn what the predictor gets wrong.

        Args:
            given: The predictor.
            labelled: Crystals that it may have been trained on, and their values.
            evaluated: Crystals that were evaluated, M of them, and their values, (M,).
            rows: Their features, (M, F).
            seed: Seed.
        """
        crystals, values = evaluated
        predicted = given.predict(crystals)
        usable = np.isfinite(values) & np.isfinite(predicted) & np.isfinite(rows).all(1)
        if usable.sum() < FEWEST:
            told = given.error(*labelled)
            return cls(given, None, told, {"given": True, "values": 0, "std": round(told, 4)})
        off = (values - predicted)[usable]
        mean, std = _left_out(rows[usable], off, seed)
        corrected = agreement(values[usable], predicted[usable] + mean, std)
        before = float(np.abs(off).mean())
        facts = {"given": True, "given_mae": before, "values": len(off), "held_out": len(off)}
        if corrected["mae"] < before:
            errors = Ensemble.fit(rows[usable], off, seed=seed)
            return cls(given, errors, np.nan, {**facts, "corrected": True, **corrected})
        same = float(np.sqrt(np.mean(off**2)))
        alone = agreement(values[usable], predicted[usable], np.full(len(off), same))
        return cls(given, None, same, {**facts, "corrected": False, **alone})

    def prediction(self, crystals: Sequence[Crystal], rows: NDArray[np.float64]) -> Prediction:
        """See :class:`pyg_crysdiff.design.prediction.Predictor`."""
        mean = self.given.predict(crystals)
        if self.errors is None:
            return Prediction(mean, np.where(np.isfinite(mean), self.std, np.nan))
        off, std = self.errors.predict(rows)
        return Prediction(mean + off, np.where(np.isfinite(mean), std, np.nan))


def _left_out(
    rows: NDArray[np.float64], off: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what an ensemble says of errors that it has not seen, each fold in turn."""
    mean, std = np.empty(len(off)), np.empty(len(off))
    for learnt, left in KFold(_FOLDS, shuffle=True, random_state=seed % 2**32).split(rows):
        one = Ensemble.fit(rows[learnt], off[learnt], seed=seed)
        mean[left], std[left] = one.predict(rows[left])
    return mean, std


def load_predictors(
    names: Sequence[str],
    dataset: InMemoryCrystals | type[InMemoryCrystals] | None,
    device: torch.device,
) -> list[PropertyModel]:
    """Load property models by what a user names.

    Args:
        names: As :func:`pyg_crysdiff.property.judges.find_evaluator` takes them.
        dataset: The data set that ``cdvae`` alone means; None where none is known.
        device: Where they run.
    """
    found = [find_evaluator(name, dataset) for name in names]
    for one in found:
        one.network.to(device)
    return found


def given_predictors(
    models: Sequence[PropertyPredictor], objectives: Sequence[Objective], oracle: Oracle
) -> dict[str, GivenPredictor]:
    """Return given predictors by name, after a look at whether they fit.

    Raises:
        ValueError: If one is of a number that is not wanted, two are of the same, or one is the
            oracle.
    """
    found: dict[str, GivenPredictor] = {}
    names = [objective.name for objective in objectives]
    for one in map(GivenPredictor, models):
        if one.name not in names:
            raise ValueError(
                f"a predictor of {one.name} is given, but wanted is {', '.join(names)}"
            )
        if one.name in found:
            raise ValueError(f"two predictors of {one.name} are given: leave one out")
        if model_identity(one.model) in oracle.identity:
            raise ValueError(
                f"the predictor of {one.name} is the oracle itself: who chooses must not be who "
                "judges. Leave the predictor out, or name another one"
            )
        found[one.name] = one
    return found


def model_identity(model: PropertyPredictor) -> str:
    """Return a text that tells models apart: by weights, or by what they say of themselves."""
    facts: list[Any] = [type(model).__name__, identity_of(model)]
    weights: list[bytes] = []
    if isinstance(model, PropertyModel):
        facts = [vars(model.config), model.mean, model.std]
        tensors = sorted(model.network.state_dict().items())
        weights = [value.cpu().numpy().tobytes() for _, value in tensors]
    return f"model {facts_digest(facts, weights)[:16]}"
