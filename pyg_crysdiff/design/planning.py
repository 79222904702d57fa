"""The first half of a round: draw, filter, predict, choose."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.design.acquisition import acquisition, hit_chances
from pyg_crysdiff.design.choosing import choose_batch, element_shares, prototype
from pyg_crysdiff.design.drawing import draw, requests_for
from pyg_crysdiff.design.evidence import best_values, labelled, outcomes
from pyg_crysdiff.design.filtering import Filter, Known, Verdict
from pyg_crysdiff.design.given import GivenPredictor
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.pool import left_over
from pyg_crysdiff.design.settings import DesignSettings
from pyg_crysdiff.design.surrogate import Surrogate
from pyg_crysdiff.design.watch import Watch
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.known.cells import STOL
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.models.checkpoint import LoadedModel
from pyg_crysdiff.sampling.control import Control

DRAWINGS = 5  # most times that crystals are drawn in a round with too few new ones


@dataclass(frozen=True)
class Plan:
    """What a round starts with; arguments of :meth:`pyg_crysdiff.design.ledger.Ledger.add_round`.

    Attributes:
        facts: Seconds of each part, numbers of crystals, requests, predictor.
        crystals: All that were drawn, and the chosen ones of those that earlier rounds left over; M
            of them.
        verdicts: What became of each in the filter.
        scores: Of the acquisition, shape (M,).
        predicted: Name to means and standard deviations, each of shape (M,).
        chosen: Place among the crystals to rank, from 1.
    """

    facts: dict[str, Any]
    crystals: list[Crystal]
    verdicts: list[Verdict]
    scores: NDArray[np.float64]
    predicted: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    chosen: dict[int, int]

    def line(self, number: int) -> str:
        """Say in a line what was drawn and chosen."""
        facts = self.facts
        hoped = facts["predicted_hits"]
        expected = "in the order of drawing" if hoped is None else f"predicted hits {hoped:.1f}"
        return (
            f"round {number}: {facts['drawn']:,} drawn, {facts['candidates']:,} new and valid, "
            f"{facts['chosen']:,} chosen ({expected})"
        )


@dataclass
class Planner:
    """Plans the rounds of a run.

    Attributes:
        settings: How the run goes about it.
        objectives: What is wanted.
        data: Labelled crystals: the predictor learns from them, and no candidate is one of them.
        known: Further crystals that no candidate may be.
        control: Hard constraints.
        progress: Show progress bars.
        given: Trained predictors, by the name of the number.
    """

    settings: DesignSettings
    objectives: Sequence[Objective]
    data: Sequence[Crystal] = ()
    known: Known = None
    control: Control | None = None
    progress: bool = False
    given: Mapping[str, GivenPredictor] = field(default_factory=dict)
    _filters: list[Filter] = field(init=False)
    _shares: dict[int, float] | None = field(init=False, default=None)
    _rows: dict[str, NDArray[np.float64]] = field(init=False, default_factory=dict)  # features

    def __post_init__(self) -> None:
        known, settings = self.known, self.settings
        options: dict[str, Any] = {
            "valid": settings.valid, "control": self.control, "num_workers": settings.workers,
            "progress": self.progress,
            "known_within": STOL if settings.known_within is None else settings.known_within,
        }  # fmt: skip
        lists: list[Known] = [self.data, known]
        if known is None or not isinstance(known, Database):
            lists = [[*self.data, *(known or ())]]
        self._filters = [Filter(one, **options) for one in lists if one is not None and len(one)]
        self._filters = self._filters or [Filter(None, **options)]
        self._shares = base_shares(self.data, self.control)

    def plan(
        self, number: int, count: int, model: LoadedModel, ledger: Ledger, folder: Path
    ) -> Plan:
        """Draw, filter and choose the crystals of a round.

        Chosen is among what was drawn and what earlier rounds have left over. Where there are too
        few candidates more are drawn, up to :data:`DRAWINGS` times.

        Args:
            number: Of the round, from 1.
            count: Crystals to choose.
            model: Generator.
            ledger: What is known so far.
            folder: Of the round, for what is drawn.
        """
        watch = Watch()
        names = [objective.name for objective in self.objectives]
        with watch("predictor"):
            known, values = labelled(names, self.data, ledger)
            seed = crystal_seed(self.settings.seed, number, "design predictor")
            answered, failed = outcomes(ledger)
            surrogate = Surrogate.fit(
                known, values, seed=seed, objectives=self.objectives, rows=self._rows,
                answered=answered, failed=failed, given=self.given,
            )  # fmt: skip
        asked = requests_for(self.objectives, model, self.settings.requests)
        requests = [self.settings.filled(request) for request in asked]
        seen = [*ledger.crystals().values(), *ledger.relaxed().values()]
        best = best_values(self.objectives, ledger)
        with watch("choose"):
            old = left_over(ledger, surrogate, self.objectives, self.settings, best, count)
        drawn: list[Crystal] = []
        for drawing in range(DRAWINGS):
            with watch("draw"):
                drawn += draw(
                    model,
                    self.settings.draws,
                    requests,
                    control=self.control,
                    seed=crystal_seed(self.settings.seed, number, f"design draw {drawing}"),
                    out=folder / (f"samples-{drawing + 1}" if drawing else "samples"),
                    device=self.settings.device,
                    precision=self.settings.precision,
                    progress=self.progress,
                )
            with watch("filter"):
                crystals = [*drawn, *old]
                verdicts = self.judge(crystals, seen)
            with watch("choose"):
                choice = self._choose(crystals, verdicts, surrogate, ledger, count, best)
            if len(choice.chosen) == count:
                break
        again = sorted(place for place in choice.chosen if place >= len(drawn))
        facts = {
            "generator": model.digest,
            "requests": [request.describe() for request in requests],
            "drawn": len(drawn),
            "candidates": sum(v.status == "candidate" for v in verdicts[: len(drawn)]),
            "left_over": len(again),
            "chosen": len(choice.chosen),
            "acquisition": choice.kind,
            "best": choice.best,
            "predicted_hits": choice.hoped,
            "predictor": surrogate.facts(),
            "data_shares": self._shares,
            "seconds": watch.seconds,
        }
        return choice.plan(facts, crystals, verdicts, [*range(len(drawn)), *again])

    def judge(self, crystals: Sequence[Crystal], seen: Sequence[Crystal]) -> list[Verdict]:
        """Judge crystals by the data, and what is left by the database.

        Args:
            crystals: As drawn, or as relaxed.
            seen: Crystals that were evaluated before.
        """
        first, *more = self._filters
        verdicts = first.judge(crystals, seen)
        for judge in more:
            left = [i for i, verdict in enumerate(verdicts) if verdict.status == "candidate"]
            for i, verdict in zip(left, judge.judge([crystals[i] for i in left]), strict=True):
                verdicts[i] = verdict
        return verdicts

    def _choose(
        self,
        crystals: Sequence[Crystal],
        verdicts: Sequence[Verdict],
        surrogate: Surrogate,
        ledger: Ledger,
        count: int,
        best: dict[str, float],
    ) -> _Choice:
        """Score the candidates, and choose among them under the caps."""
        places = [i for i, verdict in enumerate(verdicts) if verdict.status == "candidate"]
        some = [crystals[i] for i in places]
        predicted = surrogate.predict(some) if some else {}
        known = [objective for objective in self.objectives if objective.name in predicted]
        kind = self.settings.acquisition if known else "random"
        if kind == "random":
            scores = _in_order(some)
        else:
            scores = acquisition(kind, known, predicted, best, self.settings.kappa)
        chances = surrogate.answer_chances(some)
        if kind == "improvement":  # what fails brings none
            scores = scores * chances
        caps = self.settings.caps
        taken = Counter(reduced_formula(crystal) for crystal in ledger.crystals().values())
        order = choose_batch(
            scores,
            [reduced_formula(crystal) for crystal in some],
            [prototype(c) for c in some] if caps.per_prototype else [""] * len(some),
            [set(crystal.atomic_numbers.tolist()) for crystal in some],
            count,
            caps,
            taken,
            self._shares,
        )
        hoped = None
        if len(known) == len(self.objectives):
            hoped = float(np.nansum((hit_chances(self.objectives, predicted) * chances)[order]))
        return _Choice(
            kind,
            best,
            _spread(scores, places, len(crystals)),
            {
                name: (_spread(mean, places, len(crystals)), _spread(std, places, len(crystals)))
                for name, (mean, std) in ((n, one.overall()) for n, one in predicted.items())
            },
            {places[i]: rank for rank, i in enumerate(order, 1)},
            hoped,
        )


@dataclass(frozen=True)
class _Choice:
    """Scores of all that were drawn, and which of them were chosen."""

    kind: str
    best: dict[str, float]
    scores: NDArray[np.float64]
    predicted: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    chosen: dict[int, int]
    hoped: float | None

    def plan(
        self,
        facts: dict[str, Any],
        crystals: Sequence[Crystal],
        verdicts: Sequence[Verdict],
        kept: Sequence[int],
    ) -> Plan:
        """Return the plan of a round that keeps these places."""
        where = {place: new for new, place in enumerate(kept)}
        return Plan(
            facts,
            [crystals[i] for i in kept],
            [verdicts[i] for i in kept],
            self.scores[list(kept)],
            {k: (mean[list(kept)], std[list(kept)]) for k, (mean, std) in self.predicted.items()},
            {where[place]: rank for place, rank in self.chosen.items()},
        )


def base_shares(data: Sequence[Crystal], control: Control | None) -> dict[int, float] | None:
    """Return the share of the crystals that hold each element, of those that constraints admit.

    So elements that were asked for have all; None where the data hold no such crystal.
    """
    if control:
        rule = replace(control, charge_neutral=False, template=None)  # of elements alone
        data = [crystal for crystal in data if rule.problem(crystal) is None]
    return element_shares([set(c.atomic_numbers.tolist()) for c in data]) if data else None


def _in_order(crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    """Return scores by which crystals come in the order of drawing, all requests in turn."""
    count: Counter[Any] = Counter()
    places = []
    for crystal in crystals:
        request = crystal.info.get("request")
        places.append(count[request])
        count[request] += 1
    return -np.array(places, dtype=np.float64)


def _spread(values: NDArray[np.float64], places: Sequence[int], count: int) -> NDArray[np.float64]:
    """Return values at their places among all, NaN elsewhere."""
    out = np.full(count, math.nan)
    out[list(places)] = values
    return out
