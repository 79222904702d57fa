"""A batch of candidates: the best ones, not too many of a kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import anonymous_formula
from pyg_crysdiff.evaluation.distribution import space_group


@dataclass(frozen=True)
class Caps:
    """Brakes on the choice.

    Attributes:
        per_composition: Most chosen crystals of one reduced formula in the whole run; None for any
            number.
        per_prototype: Most of one prototype in a round.
        element_growth: Most that the share of the chosen crystals of a round that hold an element
            may be of its share in the data; one crystal is always allowed. Elements that were
            asked for are free.
    """

    per_composition: int | None = 1
    per_prototype: int | None = None
    element_growth: float | None = None

    def __post_init__(self) -> None:
        for name in ("per_composition", "per_prototype"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or None, got {value}")
        if self.element_growth is not None and not self.element_growth > 0:
            raise ValueError(f"element_growth must be above 0 or None, got {self.element_growth}")


def choose_batch(
    scores: NDArray[np.float64],
    formulas: Sequence[str],
    prototypes: Sequence[str],
    elements: Sequence[Collection[int]],
    count: int,
    caps: Caps,
    taken: Mapping[str, int] | None = None,
    base_shares: Mapping[int, float] | None = None,
) -> list[int]:
    """Choose the best candidates under the caps.

    Args:
        scores: Higher is better, (M,); candidates of -inf or NaN come last. Ties keep their order.
        formulas: Reduced formula of each.
        prototypes: Prototype of each.
        elements: Atomic numbers of each, none twice.
        count: Number of candidates wanted.
        caps: Brakes.
        taken: How many of each formula were chosen in earlier rounds.
        base_shares: Share of the data's crystals that hold an element; 1 for elements that are
            free. None lets the cap on elements rest.

    Returns:
        Indices, best first; fewer than ``count`` where the caps leave no more.
    """
    limits: dict[int, int] | None = None
    if caps.element_growth is not None and base_shares is not None:
        most = caps.element_growth * count
        limits = {z: max(1, math.floor(most * share)) for z, share in base_shares.items()}
    of_formula, of_prototype, of_element = Counter(taken or {}), Counter[str](), Counter[int]()
    usable = np.where(np.isfinite(scores), scores, -math.inf)
    chosen: list[int] = []
    for i in np.argsort(-usable, kind="stable").tolist():
        if len(chosen) == count:
            break
        if _full(of_formula[formulas[i]], caps.per_composition):
            continue
        if _full(of_prototype[prototypes[i]], caps.per_prototype):
            continue
        if limits is not None and any(of_element[z] >= limits.get(z, 1) for z in elements[i]):
            continue
        chosen.append(i)
        of_formula[formulas[i]] += 1
        of_prototype[prototypes[i]] += 1
        of_element.update(elements[i])
    return chosen


def _full(number: int, most: int | None) -> bool:
    return most is not None and number >= most


def element_shares(elements: Sequence[Collection[int]]) -> dict[int, float]:
    """Return the share of crystals that hold each element."""
    found = Counter(z for each in elements for z in set(each))
    return {z: number / len(elements) for z, number in found.items()}


def prototype(crystal: Crystal) -> str:
    """Return anonymous formula and number of the space group, e.g. ``ABC3 221``.

    The space group is that of spglib with a tolerance of 0.1 Angstrom.
    """
    group = space_group(crystal) if crystal.is_finite and crystal.reducible else 1
    return f"{anonymous_formula(crystal)} {group}"
