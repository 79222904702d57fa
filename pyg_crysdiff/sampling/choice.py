"""Which sampler a request is made with: the one that is named, else the checkpoint's own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from pyg_crysdiff.diffusion.kinds import Solver, Spacing
from pyg_crysdiff.diffusion.sampler import PRESETS, Sampler
from pyg_crysdiff.models.checkpoint import LoadedModel
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.sampling.request import NumAtoms

CARD = "the checkpoint's card"
_BESIDES: dict[str, tuple[type, ...]] = {"guidance": (int, float), "num_atoms": (int, str)}


class OldSampler(TypedDict, total=False):
    """The keywords that named a sampler before there was :class:`Sampler`."""

    steps: int | None
    corrector_steps: int
    renewal: float
    solver: Solver
    spacing: Spacing


@dataclass(frozen=True)
class Choice:
    """What decides a sample beside the checkpoint, its targets and the seed.

    Attributes:
        sampler: Times and kind of the steps.
        origin: Where the sampler comes from, in words.
        guidance: Scale of classifier-free guidance.
        num_atoms: Rule for the numbers of atoms.
    """

    sampler: Sampler
    origin: str
    guidance: float
    num_atoms: NumAtoms

    def __str__(self) -> str:
        return f"{self.sampler} ({self.origin})"


def choose(
    loaded: LoadedModel,
    sampler: Sampler | str | None = None,
    guidance: float | None = None,
    num_atoms: NumAtoms | None = None,
    old: OldSampler | None = None,
) -> Choice:
    """Fill what a caller does not name from the checkpoint's card, or from the preset ``fast``.

    The sampler is taken whole: nothing of the card's remains in one that is named.

    Args:
        loaded: Checkpoint; its card may recommend a sampler, a guidance and numbers of atoms.
        sampler: A sampler or the name of a preset.
        guidance: Scale of classifier-free guidance; 1 where neither says.
        num_atoms: Numbers of atoms; ``"distribution"`` where neither says.
        old: Keywords of version 0.1.0 instead of the sampler. They know no card.

    Raises:
        TypeError: If ``old`` has what never was a keyword, or there is a sampler as well.
        ValueError: If the card is wrong, there is no such preset, the model cannot follow the
            sampler, or the guidance is not finite.
    """
    if old:
        if sampler is not None:
            raise TypeError(f"sample() takes a sampler or {', '.join(old)}, not both")
        found = Choice(_by_old_keywords(loaded.model, old), "old keywords", 1.0, "distribution")
    else:
        found = recommended(loaded)
    if isinstance(sampler, str):
        named = loaded.model.sampler(sampler)
        found = replace(found, sampler=named, origin=f"preset {sampler}")
    elif sampler is not None:
        found = replace(found, sampler=sampler, origin="as asked for")
    if not old:
        loaded.model.check_sampler(found.sampler)
    if guidance is not None:
        found = replace(found, guidance=guidance)
    if num_atoms is not None:
        found = replace(found, num_atoms=num_atoms)
    if not math.isfinite(found.guidance):
        raise ValueError(f"guidance must be a finite number, got {found.guidance}")
    return found


def recommended(loaded: LoadedModel) -> Choice:
    """Return what a checkpoint's card recommends; preset ``fast`` where it does not.

    The entry ``sampler`` of a card holds the values of a :class:`Sampler` (those that it lacks are
    the preset ``paper``'s), and may hold ``guidance`` and ``num_atoms``.

    Raises:
        ValueError: If it has anything else, or no value of one; anybody may have written it.
    """
    entry, model = loaded.card.get("sampler") or {}, loaded.model
    if not entry:
        return Choice(model.sampler("fast"), "preset fast", 1.0, "distribution")
    try:
        values, besides = _split(entry)
        sampler = Sampler.from_dict(values, base=model.sampler("paper"))
    except ValueError as error:
        raise ValueError(
            f"the checkpoint's card recommends the sampler {entry!r:.200}: {error}. Correct or "
            "remove it"
        ) from error
    guidance, num_atoms = besides.get("guidance", 1.0), besides.get("num_atoms", "distribution")
    return Choice(sampler, CARD, guidance, num_atoms)


def _split(entry: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the sampler's values of a card's entry, and what else it may hold."""
    if not isinstance(entry, Mapping):
        raise ValueError("it must be values by name")
    besides = {name: value for name, value in entry.items() if name in _BESIDES}
    for name, value in besides.items():
        if not isinstance(value, _BESIDES[name]) or isinstance(value, bool):
            raise ValueError(f"{value!r:.80} is no {name}")
    return {name: value for name, value in entry.items() if name not in _BESIDES}, besides


def _by_old_keywords(model: Generator, old: OldSampler) -> Sampler:
    """Return the sampler that keywords of version 0.1.0 meant, with a warning.

    What is not named is the preset ``paper``'s. A model without corrector moves makes none, and
    one that cannot renew makes ordinary steps.
    """
    if unknown := sorted(set(old) - OldSampler.__optional_keys__):
        raise TypeError(f"sample() got an unexpected keyword argument {unknown[0]!r}")
    sampler = replace(PRESETS["paper"], **old)
    warnings.warn(
        f"{', '.join(old)} of sample() go with the next release; the same is sampler={sampler!r}",
        DeprecationWarning,
        stacklevel=4,
    )
    sampler.times(model.num_steps)  # refuses more steps than T
    return sampler if model.corrector else replace(sampler, corrector_steps=0, renewal=0.0)
