"""What is asked of the sampler, checked before any crystal is generated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import torch

from pyg_crysdiff.data.statistics import DataStatistics, PropertyStatistics, draw_sizes
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.sampling.limits import MAX_ATOMS

Interval = tuple[float, float]
Wanted = Mapping[str, float | Interval]
Target = Wanted | str | None
_SINGLE = float(torch.finfo(torch.float32).eps)
NumAtoms = int | tuple[int, int] | Mapping[int, float] | Literal["distribution", "target"]


def resolve_target(
    target: Target, statistics: DataStatistics, *, extrapolate: bool = False
) -> dict[str, float | Interval]:
    """Turn a target into property values and check them against the training range.

    Args:
        target: Property name to wanted value, or to an interval (low, high) in which every
            crystal is given a value of its own; ``"min"`` for the training minimum of every
            property the model knows, ``"min:5"`` for the interval of the lowest 5 % of the
            training values, ``"max"`` and ``"max:5"`` likewise at the other end; None for
            unconditional sampling.
        statistics: Statistics of the training set.
        extrapolate: Allow values beyond the training range.

    Returns:
        Property name to value or interval; empty for unconditional sampling.

    Raises:
        ValueError: If the model has no such property, or a value is not finite or further
            outside the training range than one standard deviation.
    """
    known = statistics.properties
    if target is None:
        return {}
    if isinstance(target, str):
        return _end(target, known)
    out: dict[str, float | Interval] = {}
    for name, value in target.items():
        if name not in known:
            raise ValueError(
                f"the model has no property {name!r}; it knows {sorted(known) or 'none'}"
            )
        p, (low, high) = known[name], _interval(name, value)
        if not extrapolate and not p.minimum - p.std <= low <= high <= p.maximum + p.std:
            raise ValueError(
                f"target {name}={value} is out of range: the training set spans "
                f"{p.minimum:g} to {p.maximum:g}; pass extrapolate=True (--extrapolate) to ask "
                "for it all the same"
            )
        out[name] = (low, high) if isinstance(value, tuple | list) else low
    return out


def _interval(name: str, value: object) -> Interval:
    """Return the ends of a wanted value; equal ones for a number."""
    ends = list(value) if isinstance(value, tuple | list) else [value, value]
    numbers = [float(v) for v in ends if isinstance(v, Real)]
    if len(ends) != 2 or len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"target {name}={value} is not a finite number or low, high")
    if numbers[0] > numbers[1]:
        raise ValueError(f"target {name}={value} has its lower end above the upper one")
    return numbers[0], numbers[1]


def _end(target: str, known: Mapping[str, PropertyStatistics]) -> dict[str, float | Interval]:
    """Read ``min``, ``max``, ``min:PERCENT`` and ``max:PERCENT``."""
    word, colon, text = target.partition(":")
    try:
        share = float(text) / 100 if colon else 0.0
    except ValueError:
        share = math.nan
    if word not in ("min", "max") or not 0 <= share <= 1:
        raise ValueError(
            "target must be 'min', 'max', 'min:PERCENT', 'max:PERCENT' (0 to 100), None or values "
            f"by property, got {target!r}"
        )
    if not known:
        raise ValueError(
            "this model was trained without a property; use target=None (--target none)"
        )
    if word == "min":
        ends = {name: (p.minimum, p.quantile(share)) for name, p in known.items()}
        return {name: (low, high) if colon else low for name, (low, high) in ends.items()}
    ends = {name: (p.quantile(1 - share), p.maximum) for name, p in known.items()}
    return {name: (low, high) if colon else high for name, (low, high) in ends.items()}


def extrapolations(wanted: Wanted, sizes: Sequence[int], statistics: DataStatistics) -> list[str]:
    """Return a line for everything that is asked beyond the training set.

    Args:
        wanted: As returned by :func:`resolve_target`.
        sizes: Numbers of atoms; none where the model chooses them.
        statistics: Statistics of the training set.
    """
    lines = []
    for name, value in wanted.items():
        p, (low, high) = statistics.properties[name], _interval(name, value)
        # The statistics are those of single precision; a value read from the data is not beyond.
        if low < p.minimum - _SINGLE * abs(p.minimum):
            lines.append(f"target {name}={low:g} is below the training minimum {p.minimum:g}")
        if high > p.maximum + _SINGLE * abs(p.maximum):
            lines.append(f"target {name}={high:g} is above the training maximum {p.maximum:g}")
    fewest, most = min(statistics.num_atoms), max(statistics.num_atoms)
    if sizes and min(sizes) < fewest:
        lines.append(f"{min(sizes)} atoms are fewer than any training crystal has ({fewest})")
    if sizes and max(sizes) > most:
        lines.append(f"{max(sizes)} atoms are more than any training crystal has ({most})")
    return lines


def draw_target(
    wanted: Wanted, statistics: DataStatistics, seed: int, index: int
) -> dict[str, float]:
    """Return the value of each property that one crystal is given; depends on (seed, index).

    Out of an interval it is drawn as the training values in it are distributed, which asks for
    what exists; evenly where the training set has none.

    Args:
        wanted: As returned by :func:`resolve_target`.
        statistics: Statistics of the training set.
        seed: Seed of the request.
        index: Index of the crystal.
    """
    generator = torch.Generator().manual_seed(crystal_seed(seed, index, "target"))
    out = {}
    for name, value in wanted.items():
        if not isinstance(value, tuple):
            out[name] = value
            continue
        p, (low, high) = statistics.properties[name], value
        place = float(torch.rand((), generator=generator, dtype=torch.float64))
        # The statistics are those of single precision: a value that is asked for counts with them.
        first = p.share_below(_single(low, p))
        last = p.share_up_to(_single(high, p))
        drawn = p.quantile(first + place * (last - first))
        if first == last:
            drawn = low + place * (high - low)
        out[name] = min(max(drawn, low), high)
    return out


def _single(value: float, known: PropertyStatistics) -> float:
    """Return the training quantile that is the same number in single precision, or the value."""
    near = min(known.quantiles, key=lambda q: abs(q - value))
    return near if abs(near - value) <= _SINGLE * abs(value) else value


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
        if isinstance(rule, str):
            if rule not in ("distribution", "target"):
                raise ValueError(f"num_atoms must be a number, a range or a rule, got {rule!r}")
        elif (largest := rule if isinstance(rule, int) else max(rule)) > MAX_ATOMS:
            raise ValueError(f"num_atoms may be at most {MAX_ATOMS:,}, got {largest}")

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
