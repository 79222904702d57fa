"""What is wanted of a crystal: numbers within bounds, as low or as high as can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GRAMMAR = "NAME=LOW:HIGH, NAME=:HIGH, NAME=LOW:, NAME=min or NAME=max"
_DIRECTIONS = {"min": -1, "max": 1}


@dataclass(frozen=True)
class Objective:
    """One wanted number of a crystal.

    A crystal is a *hit* if all its objectives are met.

    Attributes:
        name: Name of the number, as the oracle gives it.
        low: Least value that is met.
        high: Greatest value that is met.
        direction: -1 if of two values the lower is better, 1 if the higher; 0 if all values
            within the bounds are equally good.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    direction: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("an objective needs the name of a number")
        if math.isnan(self.low) or math.isnan(self.high) or self.low > self.high:
            raise ValueError(f"{self.name}: no value lies between {self.low} and {self.high}")
        if self.direction not in (-1, 0, 1):
            raise ValueError(f"{self.name}: direction must be -1, 0 or 1, got {self.direction}")
        if self.direction == 0 and not self.bounded:
            raise ValueError(f"{self.name}: name a bound, min or max: {_GRAMMAR}")

    @property
    def bounded(self) -> bool:
        """Whether some values do not meet it."""
        return math.isfinite(self.low) or math.isfinite(self.high)

    def met(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Say which values meet it; what is not a number does not."""
        given = np.asarray(values, dtype=np.float64)
        return (given >= self.low) & (given <= self.high)

    def shortfall(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return the distance of values to the bounds, 0 within them; NaN stays NaN."""
        given = np.asarray(values, dtype=np.float64)
        found: NDArray[np.float64] = np.maximum(
            0.0, np.maximum(self.low - given, given - self.high)
        )
        return found

    def __str__(self) -> str:
        """The text that :func:`read_objectives` reads."""
        parts = [word for word, direction in _DIRECTIONS.items() if direction == self.direction]
        if self.bounded:
            low, high = (f"{x:g}" if math.isfinite(x) else "" for x in (self.low, self.high))
            parts.append(f"{low}:{high}")
        return f"{self.name}={','.join(parts)}"


def read_objectives(texts: Sequence[str]) -> tuple[Objective, ...]:
    """Return the objectives that texts name, in order; those of one number become one.

    Args:
        texts: ``heat_ref=:0.44`` (at most 0.44), ``band_gap=1:2``, ``energy=min``,
            ``energy=min,:-3`` (at most -3, and the lower the better).

    Raises:
        ValueError: If a text is none of these, or two contradict each other.
    """
    found: dict[str, Objective] = {}
    for text in texts:
        name, equals, wanted = text.rpartition("=")
        if not equals or not name or not wanted:
            raise ValueError(f"an objective must look like {_GRAMMAR}, got {text!r}")
        for word in wanted.split(","):
            one = _objective(name.strip(), word.strip(), text)
            found[one.name] = _both(found[one.name], one) if one.name in found else one
    if not found:
        raise ValueError(f"name what is wanted: {_GRAMMAR}")
    return tuple(found.values())


def _objective(name: str, word: str, text: str) -> Objective:
    if word in _DIRECTIONS:
        return Objective(name, direction=_DIRECTIONS[word])
    low, colon, high = word.partition(":")
    try:
        if not colon:
            raise ValueError
        bounds = float(low or -math.inf), float(high or math.inf)
    except ValueError:
        raise ValueError(f"an objective must look like {_GRAMMAR}, got {text!r}") from None
    return Objective(name, *bounds)


def _both(first: Objective, second: Objective) -> Objective:
    """Return the objective that asks for what two ask of one number."""
    directions = {first.direction, second.direction} - {0}
    if len(directions) > 1:
        raise ValueError(f"{first.name}: it cannot be both as low and as high as can be")
    return replace(
        first,
        low=max(first.low, second.low),
        high=min(first.high, second.high),
        direction=directions.pop() if directions else 0,
    )


def hits(
    objectives: Sequence[Objective], values: dict[str, NDArray[np.float64]]
) -> NDArray[np.bool_]:
    """Say which crystals meet all objectives.

    Args:
        objectives: What is wanted.
        values: Name to values, each of shape (M,); NaN where there is none.
    """
    met = [objective.met(values[objective.name]) for objective in objectives]
    return np.logical_and.reduce(met)
