"""How much the evaluation of a candidate promises."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.prediction import Predicted, Prediction

KINDS = ("improvement", "bound", "mean", "random")
_LEAST = 1e-12
_TIE = 1e-6  # weight of the probability among candidates that are equally good otherwise


def acquisition(
    kind: str,
    objectives: Sequence[Objective],
    predicted: Predicted,
    best: Mapping[str, float],
    kappa: float = 2.0,
) -> NDArray[np.float64]:
    """Return the order of preference of candidates, (M,); higher is better.

    The numbers of a candidate count as independent, and as their predictions are distributed.

    * ``improvement``: the product over the objectives of the probability that the bounds are met
      and, where the lower or the higher is the better, of the expected improvement over the best
      value so far (Jones et al. 1998, eq. 15; Gardner et al. 2014 for the product).
    * ``bound``: how near the most favourable value within ``kappa`` standard deviations comes to
      what is wanted.
    * ``mean``: the same of the predicted value itself.
    * ``random``: the order in which they were drawn.

    Args:
        kind: One of these.
        objectives: What is wanted.
        predicted: Name to :class:`Prediction`, or to mean and standard deviation, each (M,). NaN,
            of what cannot be predicted, comes last.
        best: Best value so far of objectives with a direction, by name; may lack some.
        kappa: Standard deviations of ``bound``.

    Raises:
        ValueError: If there is no such kind.
        KeyError: If an objective has no prediction.
    """
    if kind not in KINDS:
        raise ValueError(f"acquisition must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "random":
        count = len(next(iter(predicted.values()))[0]) if predicted else 0
        return -np.arange(count, dtype=np.float64)
    if kind == "improvement":
        parts = [
            _improvement(o, Prediction(*predicted[o.name]), best.get(o.name)) for o in objectives
        ]
        scores = np.prod(parts, 0)
    else:
        width = kappa if kind == "bound" else 0.0
        parts = [_optimism(o, *Prediction(*predicted[o.name]).overall(), width) for o in objectives]
        scores = np.sum(parts, 0) + _TIE * hit_chances(objectives, predicted)
    return np.where(np.isfinite(scores), scores, -math.inf)


def hit_chances(objectives: Sequence[Objective], predicted: Predicted) -> NDArray[np.float64]:
    """Return the predicted probability, shape (M,), that a crystal meets all objectives.

    The numbers count as independent of each other.
    """
    chances = [Prediction(*predicted[o.name]).chance(o) for o in objectives]
    found: NDArray[np.float64] = np.prod(chances, axis=0)
    return found


def _improvement(
    objective: Objective, predicted: Prediction, best: float | None
) -> NDArray[np.float64]:
    found = predicted.chance(objective)
    if objective.direction:
        mean, _ = predicted.overall()
        usual = np.nanmedian(mean) if np.isfinite(mean).any() else 0.0
        start = float(usual) if best is None or not math.isfinite(best) else best
        found = found * predicted.improvement(objective, start)
    return found


def _optimism(
    objective: Objective,
    mean: NDArray[np.float64],
    std: NDArray[np.float64],
    width: float,
) -> NDArray[np.float64]:
    """Return what is missing of the bounds, negative, and the direction's gain, in their spread."""
    scale = float(np.nanstd(mean)) if np.isfinite(mean).any() else 1.0
    nearest = np.clip(mean, objective.low, objective.high)
    reach = np.clip(nearest, mean - width * std, mean + width * std)
    missing = objective.shortfall(reach)
    gain = objective.direction * mean + abs(objective.direction) * width * std
    return (gain - missing) / max(scale, _LEAST)
