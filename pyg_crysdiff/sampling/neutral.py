"""Charge-neutral compositions under constraints on every atom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Mask = NDArray[np.bool_]
_ENUMERATED = 20_000
_RANDOM_TRIES = 5_000
_TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
_DRAWS = 64


def _valid(numbers: NDArray[np.int64]) -> bool:
    # smact takes seconds to import; only requests for neutral compositions pay for it.
    from pyg_crysdiff.evaluation.composition import smact_validity  # noqa: PLC0415

    return smact_validity(numbers)


def find_neutral(allowed: Mask, elements: Sequence[int]) -> list[int] | None:
    """Return classes (N,) that are valid under SMACT, or None.

    All compositions are tried where there are at most 20,000, else 5,000 random ones of up to
    three elements besides the fixed ones.

    Args:
        allowed: Classes that each atom may have, (N, K).
        elements: Atomic number of each class.
    """
    numbers = np.asarray(elements)
    sole = allowed.sum(1) == 1
    fixed = allowed[sole].argmax(1)
    free = np.flatnonzero(~sole)
    if not len(free):
        return fixed.tolist() if _valid(numbers[fixed]) else None
    common = np.flatnonzero(allowed[free].all(0))

    def complete(rest: Sequence[int]) -> list[int] | None:
        classes = np.empty(len(allowed), dtype=int)
        classes[sole], classes[free] = fixed, rest
        return classes.tolist() if _valid(numbers[classes]) else None

    if comb(len(common) + len(free) - 1, len(free)) <= _ENUMERATED:
        candidates: Iterable[Sequence[int]] = combinations_with_replacement(
            common.tolist(), len(free)
        )
    else:
        candidates = _random_candidates(common, len(free))
    for rest in candidates:
        if (found := complete(rest)) is not None:
            return found
    return None


def _random_candidates(common: NDArray[np.int64], count: int) -> Iterator[Sequence[int]]:
    rng = np.random.default_rng(0)
    for _ in range(_RANDOM_TRIES):
        few = rng.choice(common, min(len(common), int(rng.integers(1, 4))), replace=False)
        yield np.sort(rng.choice(few, count)).tolist()


def draw_neutral(
    probabilities: NDArray[np.float64],
    elements: Sequence[int],
    fallback: Sequence[int],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw classes (N,) from per-atom probabilities until they are valid under SMACT.

    After 64 refused draws the probabilities are flattened (powers 1/2, 1/4, 1/8), and at last the
    atoms of a known valid composition are distributed for the largest likelihood.

    Args:
        probabilities: (N, K); zero for classes that an atom may not have.
        elements: Atomic number of each class.
        fallback: Classes of a valid composition that obeys the same constraints, (N,).
        rng: Generator.
    """
    numbers = np.asarray(elements)
    for temperature in _TEMPERATURES:
        p = probabilities ** (1 / temperature)
        cumulative = np.cumsum(p / p.sum(1, keepdims=True), axis=1)
        last = p.shape[1] - 1 - (p > 0)[:, ::-1].argmax(1)
        for _ in range(_DRAWS):
            classes = np.minimum((cumulative <= rng.random((len(p), 1))).sum(1), last)
            if _valid(numbers[classes]):
                return classes
    species = np.asarray(fallback)
    cost = -np.log(np.maximum(probabilities[:, species], 1e-300))
    cost[probabilities[:, species] == 0] = 1e6
    _, columns = linear_sum_assignment(cost)
    return species[columns]
