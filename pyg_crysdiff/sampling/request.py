"""What is asked of the sampler, checked before any crystal is generated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from pyg_crysdiff.data.statistics import DataStatistics, draw_sizes
from pyg_crysdiff.diffusion.noise import crystal_seed

Target = Mapping[str, float] | Literal["min"] | None
NumAtoms = int | tuple[int, int] | Mapping[int, float] | Literal["distribution", "target"]


def resolve_target(
    target: Target, statistics: DataStatistics, *, extrapolate: bool = False
) -> dict[str, float]:
    """Turn a target into property values and check them against the training range.

    Args:
        target: Property name to wanted value; ``"min"`` for the training minimum of every
            property the model knows; None for unconditional sampling.
        statistics: Statistics of the training set.
        extrapolate: Allow values beyond the training range.

    Returns:
        Property name to value; empty for unconditional sampling.

    Raises:
        ValueError: If the model has no such property, or a value is not finite or further
            outside the training range than one standard deviation.
    """
    known = statistics.properties
    if target is None:
        return {}
    if target == "min":
        if not known:
            raise ValueError("this model was trained without a property; use target=None")
        return {name: p.minimum for name, p in known.items()}
    if isinstance(target, str):
        raise ValueError(f"target must be 'min', None or values by property, got {target!r}")
    for name, value in target.items():
        if name not in known:
            raise ValueError(
                f"the model has no property {name!r}; it knows {sorted(known) or 'none'}"
            )
        p = known[name]
        if not math.isfinite(value):
            raise ValueError(f"target {name}={value} is not a finite number")
        if not extrapolate and not p.minimum - p.std <= value <= p.maximum + p.std:
            raise ValueError(
                f"target {name}={value:g} is out of range: the training set spans "
                f"{p.minimum:g} to {p.maximum:g}; pass extrapolate=True (--extrapolate) to ask "
                "for it all the same"
            )
    return {name: float(value) for name, value in target.items()}


@dataclass(frozen=True)
class Sizes:
    """How the number of atoms of each crystal is chosen.

    Args:
        rule: A fixed number; a range (low, high), uniform and inclusive; numbers with weights;
            ``"distribution"`` for the training distribution; ``"target"`` for
            p(N | target property).
    """

    rule: NumAtoms = "distribution"

    def __post_init__(self) -> None:
        rule = self.rule
        if isinstance(rule, int) and rule < 1:
            raise ValueError(f"a crystal needs at least one atom, got num_atoms={rule}")
        if isinstance(rule, tuple) and not (len(rule) == 2 and 1 <= rule[0] <= rule[1]):
            raise ValueError(f"num_atoms range must be (low, high) with 1 <= low <= high: {rule}")
        if isinstance(rule, Mapping) and not (
            rule
            and all(n >= 1 and math.isfinite(w) and w >= 0 for n, w in rule.items())
            and sum(rule.values()) > 0
        ):
            raise ValueError(f"num_atoms with weights needs sizes >= 1, weights >= 0: {rule}")
        if isinstance(rule, str) and rule not in ("distribution", "target"):
            raise ValueError(f"num_atoms must be a number, a range or a rule, got {rule!r}")

    @property
    def given(self) -> bool:
        """Whether numbers were asked for, not a distribution of the training set."""
        return not isinstance(self.rule, str)

    def weights(self, statistics: DataStatistics, target: Mapping[str, float]) -> dict[int, float]:
        """Return the possible numbers of atoms with weights."""
        if isinstance(self.rule, int):
            return {self.rule: 1.0}
        if isinstance(self.rule, tuple):
            return dict.fromkeys(range(self.rule[0], self.rule[1] + 1), 1.0)
        if isinstance(self.rule, Mapping):
            return {int(n): float(w) for n, w in self.rule.items()}
        return statistics.size_weights(target if self.rule == "target" else None)


def draw_size(weights: Mapping[int, float], seed: int, index: int) -> int:
    """Draw a number of atoms; depends on (seed, index) and the weights alone."""
    generator = torch.Generator().manual_seed(crystal_seed(seed, index, "size"))
    return draw_sizes(weights, 1, generator)[0]
