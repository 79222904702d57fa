"""Whether the oxidation states of a composition can add up to zero, as GenBench asks it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

_TIE = 1e-9


def balanced(numbers: Sequence[int], states: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether a composition can be neutral with usual states, or at least with plausible ones.

    Neutral: the states of all atoms of the reduced formula add up to zero; those of one element
    differ by at most one; no element as a whole has charge zero. First with the usual ``states``;
    if this fails, with every state that pymatgen knows, and then the mean states of the elements
    must be anticorrelated with their electronegativity.

    Source: ``compositional_oxi_state_guesses`` and the third step of ``ChargeNeutralityMetric`` of
    LeMat-GenBench. It lists every choice; the charges that can be reached are enough, because the
    score it finds for usual states decides nothing, and the sign of the correlation of some choice
    is that of a sum over elements.

    Args:
        numbers: Atomic numbers of all atoms.
        states: Atomic number to usual oxidation states. False for an element that is missing.
    """
    elements, counts = np.unique(np.asarray(numbers, dtype=np.int64), return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    pairs = list(zip(elements.tolist(), counts.tolist(), strict=True))
    if any(z not in states for z, _ in pairs):
        return False
    usual = [_charges(states[z], n) for z, n in pairs]
    if 0 in _lowest([dict.fromkeys(charges, 0.0) for charges in usual]):
        return True
    return _anticorrelated(pairs)


def _charges(states: Sequence[int], count: int) -> set[int]:
    """Charges other than 0 of so many atoms whose states differ by at most one."""
    known = set(states)
    out = {count * s for s in known}
    for s in known:
        if s + 1 in known:
            out |= {count * s + k for k in range(count + 1)}
    return out - {0}


def _lowest(elements: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the charges of all choices, each with the lowest sum of the costs of its choice."""
    reached = {0: 0.0}
    for costs in elements:
        grown: dict[int, float] = {}
        for charge, cost in reached.items():
            for more, added in costs.items():
                total, value = charge + more, cost + added
                if value < grown.get(total, np.inf):
                    grown[total] = value
        reached = grown
    return reached


def _anticorrelated(pairs: Sequence[tuple[int, int]]) -> bool:
    """Whether a neutral choice gives more positive states to less electronegative elements."""
    facts = [_facts(z) for z, _ in pairs]
    eneg = np.array([x for x, _ in facts])
    away = eneg - eneg.mean()
    if not np.isfinite(away).all():
        return False
    costs = [
        {charge: charge / n * weight for charge in _charges(states, n)}
        for (_, n), (_, states), weight in zip(pairs, facts, away.tolist(), strict=True)
    ]
    return _lowest(costs).get(0, np.inf) < -_TIE


@cache
def _facts(number: int) -> tuple[float, tuple[int, ...]]:
    """Pauling electronegativity (NaN where unknown) and every oxidation state, by pymatgen."""
    from pymatgen.core import Element  # noqa: PLC0415

    element = Element.from_Z(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(element.X), tuple(int(x) for x in element.oxidation_states)
