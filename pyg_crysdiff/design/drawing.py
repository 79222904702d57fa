"""Drawing of candidates: how the generator is asked, and the crystals that it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.statistics import PropertyStatistics
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models.checkpoint import LoadedModel
from pyg_crysdiff.sampling import Control, sample
from pyg_crysdiff.sampling.request import Interval, NumAtoms, Target

END = 0.05  # share of the training values that is asked for at an end


@dataclass(frozen=True)
class Request:
    """How the generator is asked; arguments of :func:`pyg_crysdiff.sampling.sample`.

    Attributes:
        target: Wanted properties; None for unconditional draws.
        guidance: Scale of classifier-free guidance; None for the checkpoint's.
        num_atoms: Numbers of atoms; None for the checkpoint's.
        sampler: Times and kind of the steps, or the name of a preset; None for the checkpoint's.
        extrapolate: Allow targets beyond the training range.
    """

    target: Target = "min:5"
    guidance: float | None = None
    num_atoms: NumAtoms | None = None
    sampler: Sampler | str | None = None
    extrapolate: bool = False

    def describe(self) -> dict[str, Any]:
        """Return plain data for the record of a run."""
        sampler = self.sampler.to_dict() if isinstance(self.sampler, Sampler) else self.sampler
        target = dict(self.target) if isinstance(self.target, Mapping) else self.target
        sizes = dict(self.num_atoms) if isinstance(self.num_atoms, Mapping) else self.num_atoms
        return {
            "target": target,
            "guidance": self.guidance,
            "num_atoms": sizes,
            "sampler": sampler,
            "extrapolate": self.extrapolate,
        }


def requests_for(
    objectives: Sequence[Objective], model: LoadedModel, given: Sequence[Request] | None = None
) -> list[Request]:
    """Return how a model is asked for what is wanted.

    Asked for is the part of an objective's interval that lies within the values of the training
    set; where none does, the 5 % of these values that are nearest to it. Of an objective that is
    the lower (higher) the better it is the lowest (highest) 5 %, within the bounds where some of
    these are. A model that learns from what was found knows more values afterwards, and is asked
    for more. Objectives that the model does not know leave it free.

    A model that is asked for few values gives the same crystals again and again. So where training
    values lie within the bounds, half of the draws ask for those beside them: the nearest 5 % of
    the training values outside, or for an interval with two ends, one that is 5 % wider at both.

    Args:
        objectives: What is wanted.
        model: The model; its statistics tell what it knows.
        given: Requests of a user, which are taken as they are; None or empty to make one.
    """
    if given:
        return list(given)
    known = model.model.statistics.properties
    wanted = {o.name: _asked(o, known[o.name]) for o in objectives if o.name in known}
    beside = {o.name: _beside(o, known[o.name]) for o in objectives if o.name in known}
    return [Request(wanted or None), *([Request(beside)] if beside != wanted else [])]


def _asked(objective: Objective, known: PropertyStatistics) -> Interval:
    """Return the interval that a model with these training values is asked for."""
    lowest = known.minimum, known.quantile(END)
    highest = known.quantile(1 - END), known.maximum
    if objective.high < known.minimum:
        return lowest
    if objective.low > known.maximum:
        return highest
    low, high = max(objective.low, known.minimum), min(objective.high, known.maximum)
    if objective.direction < 0:
        high = min(high, max(lowest[1], low))
    elif objective.direction > 0:
        low = max(low, min(highest[0], high))
    return low, high


def _beside(objective: Objective, known: PropertyStatistics) -> Interval:
    """Return the interval beside the one that is asked for; the same where there is none."""
    asked = _asked(objective, known)
    if objective.direction or objective.high < known.minimum or objective.low > known.maximum:
        return asked
    low = known.quantile(max(0.0, known.share_below(asked[0]) - END))
    high = known.quantile(min(1.0, known.share_up_to(asked[1]) + END))
    if asked[0] <= known.minimum and high > asked[1]:
        return asked[1], high
    if asked[1] >= known.maximum and low < asked[0]:
        return low, asked[0]
    return low, high


def draw(
    model: LoadedModel | str | Path,
    count: int,
    requests: Sequence[Request],
    *,
    seed: int,
    out: str | Path,
    control: Control | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    trusted: Sequence[str] = (),
    progress: bool = True,
) -> list[Crystal]:
    """Draw crystals, the same number by every request (the first ones get what is left over).

    The same call goes on where an interrupted one stopped. Every request has a seed and a folder of
    its own.

    Args:
        model: The model, or its checkpoint.
        count: Number of crystals.
        requests: How it is asked.
        seed: Seed.
        out: Folder; a request leaves its crystals in ``request0``, ``request1`` ...
        control: Hard constraints.
        device: Device; None for the best there is.
        precision: ``auto``, ``32-true`` or ``bf16-mixed``.
        trusted: Packages besides this one whose conditioners the checkpoint may name.
        progress: Show progress bars.

    Returns:
        The crystals, those of a request together, its number as ``info["request"]``.

    Raises:
        ValueError: If a request cannot be met (:func:`pyg_crysdiff.sampling.sample`), or there is
            none.
    """
    if not requests:
        raise ValueError("there is no request to draw by")
    found: list[Crystal] = []
    for number, request in enumerate(requests):
        share = math.ceil((count - number) / len(requests))
        if share < 1:
            break
        crystals = sample(
            model,
            share,
            target=request.target,
            num_atoms=request.num_atoms,
            control=control,
            seed=crystal_seed(seed, number, "design request"),
            sampler=request.sampler,
            guidance=request.guidance,
            device=device,
            precision=precision,
            out=Path(out) / f"request{number}",
            extrapolate=request.extrapolate,
            trusted=trusted,
            progress=progress,
        )
        found += [replace(c, info={**c.info, "request": number}) for c in crystals]
    return found
