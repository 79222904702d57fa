"""Settings of the design benchmark, its methods, and what is known when it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.design.choosing import Caps
from pyg_crysdiff.design.drawing import Request
from pyg_crysdiff.design.learning import FineTune
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.oracles.find import Spec
from pyg_crysdiff.design.settings import DesignSettings
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.evaluation.lookup import has_value
from pyg_crysdiff.sampling import Control

RANDOM = "random known-like"
ONE_SHOT = ("unconditional", "conditional", "chosen")
METHODS = (RANDOM, *ONE_SHOT, "loop", "learning loop")
# What single parts of the loop add: other orders of choice, brakes, the generator that learns but
# whose draws are taken as they come.
PARTS = ("mean loop", "bound loop", "braked loop", "unchosen learning loop")
POINTS = (50, 100, 200, 250, 400, 500, 1000)  # evaluations at which curves are told


@dataclass(frozen=True)
class DesignTask:
    """What is searched for, by whom, and from what.

    Attributes:
        objectives: What is wanted; none for values at or below the limit of SR5.
        oracles: Who evaluates (:func:`pyg_crysdiff.design.find_oracle`); none for the look-up in
            all parts of the data set.
        budget: Evaluations of a method.
        batch: Evaluations of a round.
        draws: Crystals drawn for a round; a method of one round draws as many in all.
        methods: Names out of :data:`METHODS` and :data:`PARTS`.
        seeds: Number of repetitions, from the seed of the run on.
        start: Number of training crystals that are known at the start; None for all.
        above: Share: the known ones have values above this point of the training set.
        guidance: Scale of guidance of conditional draws.
        fine_tune: How the generator learns.
        growth: The brake on elements of the braked loop, and of all methods where ``brake``.
        brake: Whether all methods that choose have the brake.
        per_composition: Most chosen crystals of one reduced formula; None for any number.
        control: Hard constraints of all draws.
        known: Database of further crystals that count as known.
        known_within: As in :class:`pyg_crysdiff.design.DesignSettings`.
        predictors: Trained property models from which all methods that choose start, as
            :func:`pyg_crysdiff.property.judges.find_evaluator` names them.
        timeout: Most seconds of a function or program for a crystal.
    """

    objectives: tuple[Objective, ...] = ()
    oracles: tuple[Spec, ...] = ()
    budget: int = 500
    batch: int = 50
    draws: int = 1000
    methods: tuple[str, ...] = METHODS
    seeds: int = 3
    start: int | None = None
    above: float = 0.0
    guidance: float = 1.5
    fine_tune: FineTune = field(default_factory=FineTune)
    growth: float = 2.0
    brake: bool = False
    per_composition: int | None = 1
    control: Control | None = None
    known: Path | None = None
    known_within: float | None = None
    predictors: tuple[str, ...] = ()
    timeout: float = 3600.0

    def __post_init__(self) -> None:
        if unknown := [name for name in self.methods if name not in (*METHODS, *PARTS)]:
            raise ValueError(f"there is no method {unknown[0]!r}: {', '.join((*METHODS, *PARTS))}")
        for name in ("budget", "batch", "draws", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.above < 1:
            raise ValueError(f"above must be a share from 0 and below 1, got {self.above}")

    @property
    def rounds(self) -> int:
        """Rounds of a loop."""
        return -(-self.budget // self.batch)

    @staticmethod
    def chooses(method: str) -> bool:
        """Whether a method orders the draws by a predictor."""
        return method not in (RANDOM, "unconditional", "conditional", "unchosen learning loop")

    def settings(
        self, method: str, seed: int, sampler: Sampler, device: str | None
    ) -> DesignSettings:
        """Return how a method goes about it.

        Args:
            method: One of the methods but random known-like crystals.
            seed: Its seed.
            sampler: Steps of the generator.
            device: Device of the generator.
        """
        chooses = self.chooses(method)
        one_shot = method in ONE_SHOT
        growth = self.growth if self.brake and chooses else None
        caps = Caps(self.per_composition, element_growth=growth)
        found = DesignSettings(
            batch=self.budget if one_shot else self.batch,
            draws=self.draws * self.rounds if one_shot else self.draws,
            acquisition="improvement" if chooses else "random",
            caps=caps,
            guidance=self.guidance,
            sampler=sampler,
            fine_tune=self.fine_tune if "learning" in method else None,
            known_within=self.known_within,
            seed=seed,
            device=device,
        )
        if method in ("unconditional", "conditional"):
            # taken in the order of drawing: what is drawn beyond them is never looked at
            found = replace(found, draws=min(found.draws, 3 * self.budget))
        if method == "unconditional":
            return replace(found, requests=(Request(None),), guidance=None)
        if method in ("mean loop", "bound loop"):
            return replace(found, acquisition=method.removesuffix(" loop"), kappa=1.0)
        if method == "braked loop":
            return replace(found, caps=Caps(self.per_composition, element_growth=self.growth))
        return found


def known_at_start(
    crystals: Sequence[Crystal], name: str, task: DesignTask, seed: int
) -> tuple[list[Crystal], str]:
    """Return the crystals that are known at the start, and what they are in words.

    Args:
        crystals: A part of the data set.
        name: The property by which they are cut.
        task: How many, and above which point.
        seed: Seed of the draw.

    Raises:
        ValueError: If there are not so many.
    """
    if task.start is None and task.above == 0:
        return list(crystals), f"all {len(crystals):,} training crystals"
    values = np.array([c.info[name] if has_value(c, name) else np.nan for c in crystals])
    limit = float(np.nanquantile(values, task.above)) if task.above else -np.inf
    above = np.flatnonzero(values > limit)
    count = len(above) if task.start is None else task.start
    if count > len(above):
        raise ValueError(
            f"{count:,} crystals are to be known at the start, but only {len(above):,} have a "
            f"{name} above the {task.above:.0%} point"
        )
    drawn = np.sort(np.random.default_rng(seed).permutation(above)[:count])
    words = f"{count:,} training crystals"
    if task.above:
        words += f" above the {task.above:.0%} point of {name} ({limit:.4g})"
    return [crystals[i] for i in drawn], words
