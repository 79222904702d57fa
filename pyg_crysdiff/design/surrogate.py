"""Predictors of all wanted numbers, learnt from data and from what was evaluated so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.ensemble import FEWEST, Ensemble
from pyg_crysdiff.design.failing import AnswerChance
from pyg_crysdiff.design.features import NUMBERS, features
from pyg_crysdiff.design.given import Corrected, GivenPredictor
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.prediction import Prediction, Predictor
from pyg_crysdiff.design.sharing import SharedValue, electron_numbers, shared_value

MOST = 3000  # values that a predictor learns; its time grows with the third power


class Surrogate:
    """A predictor for every number.

    It is an :class:`Ensemble`; for numbers that many crystals share a :class:`SharedValue`; or a
    given one that is corrected by an ensemble.

    Args:
        predictors: By name.
        counts: Number of known values by name, also of those without a predictor.
        rows: Keeps the features of crystals that were seen, by digest.
        answering: Tells what may fail.
    """

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        counts: Mapping[str, int],
        rows: dict[str, NDArray[np.float64]] | None = None,
        answering: AnswerChance | None = None,
    ) -> None:
        self.predictors, self.counts = dict(predictors), dict(counts)
        self.answering = answering or AnswerChance()
        self._rows = {} if rows is None else rows

    @classmethod
    def fit(
        cls,
        crystals: Sequence[Crystal],
        values: Mapping[str, NDArray[np.float64]],
        *,
        seed: int = 0,
        objectives: Sequence[Objective] = (),
        rows: dict[str, NDArray[np.float64]] | None = None,
        answered: Sequence[Crystal] = (),
        failed: Sequence[Crystal] = (),
        given: Mapping[str, GivenPredictor] | None = None,
    ) -> Surrogate:
        """Learn what is known.

        Of more than 3,000 values half are those nearest to the objective, the others a random
        part of the rest.

        Args:
            crystals: Crystals, (M,): labelled ones, then the answered ones.
            values: Name to values, (M,); NaN where none is known. A name with fewer than 20 gets
                no predictor.
            seed: Seed.
            objectives: What is wanted.
            rows: Features by digest, from an earlier round; added to.
            answered: Crystals whose evaluation brought a number.
            failed: Crystals whose evaluation failed.
            given: Trained predictors by name; they need no values.

        Raises:
            ValueError: If the error of a given predictor cannot be told.
        """
        kept = {} if rows is None else rows
        wanted = {objective.name: objective for objective in objectives}
        found: dict[str, Predictor] = {}
        counts = {}
        for name, those in values.items():
            known = np.flatnonzero(np.isfinite(those))
            counts[name] = len(known)
            if given and name in given:
                first = len(crystals) - len(answered)
                found[name] = Corrected.fit(
                    given[name], (crystals[:first], those[:first]), (answered, those[first:]),
                    _features(answered, kept), seed=seed,
                )  # fmt: skip
                continue
            if len(known) < FEWEST:
                continue
            used = _nearest(known, those, wanted.get(name), seed)
            one = _learnt([crystals[i] for i in used], those[used], kept, seed)
            if one is not None:
                found[name] = one
        known_to = [_finite(_features(some, kept)) for some in (answered, failed)]
        return cls(found, counts, kept, AnswerChance.fit(*known_to, seed=seed))

    def answer_chances(self, crystals: Sequence[Crystal]) -> NDArray[np.float64]:
        """Return the probability that an evaluation succeeds, (M,); 1 where nothing is known."""
        if self.answering.trees is None:
            return np.ones(len(crystals))
        return self.answering.predict(_features(crystals, self._rows))

    def predict(self, crystals: Sequence[Crystal]) -> dict[str, Prediction]:
        """Return what is predicted of every number with a predictor."""
        if not self.predictors:
            return {}
        table = _features(crystals, self._rows)
        return {name: one.prediction(crystals, table) for name, one in self.predictors.items()}

    def facts(self) -> dict[str, Any]:
        """Return for every number what is known of its predictor, as JSON can hold it."""
        return {
            name: {**self.predictors[name].facts, "known": count}
            if name in self.predictors
            else {"known": count, "problem": f"fewer than {FEWEST} values: no predictor yet"}
            for name, count in self.counts.items()
        }


def _learnt(
    crystals: Sequence[Crystal],
    values: NDArray[np.float64],
    kept: dict[str, NDArray[np.float64]],
    seed: int,
) -> Predictor | None:
    """Return a predictor that has learnt these values; None where too few can be learnt."""
    rows = _features(crystals, kept)
    usable = np.isfinite(rows).all(1)
    if usable.sum() < FEWEST:
        return None
    rows, values = rows[usable], values[usable]
    shared = shared_value(values)
    if shared is None:
        return Ensemble.fit(rows, values, seed=seed)
    some = [crystals[i] for i in np.flatnonzero(usable).tolist()]
    return SharedValue.fit(rows, electron_numbers(some), values, shared, seed=seed)


def _nearest(
    known: NDArray[np.int64],
    values: NDArray[np.float64],
    objective: Objective | None,
    seed: int,
) -> NDArray[np.int64]:
    """Return at most :data:`MOST` of the known ones, in order."""
    if len(known) <= MOST:
        return known
    order = np.random.default_rng(seed).permutation(known)
    if objective is not None:
        near = order[np.argsort(_distance(objective, values[order]), kind="stable")[: MOST // 2]]
        rest = order[~np.isin(order, near)]
        order = np.concatenate([near, rest])
    return np.sort(order[:MOST])


def _distance(objective: Objective, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if objective.bounded:
        return objective.shortfall(values)
    return -objective.direction * values


def _features(
    crystals: Sequence[Crystal], kept: dict[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    digests = [crystal.digest() for crystal in crystals]
    new = {d: c for d, c in zip(digests, crystals, strict=True) if d not in kept}
    if new:
        kept.update(zip(new, features(list(new.values())), strict=True))
    return np.array([kept[digest] for digest in digests]).reshape(len(digests), NUMBERS)


def _finite(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows[np.isfinite(rows).all(1)]
