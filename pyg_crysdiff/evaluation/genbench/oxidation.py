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
    return _neutral(pairs, states) or _anticorrelated(pairs)


def valences_possible(numbers: Sequence[int]) -> bool:
    """Whether pymatgen's ``BVAnalyzer`` could assign valences to a cell, by its atoms alone.

    It tries up to 100,000 choices of the valences that it knows from the ICSD; those of an element
    differ by at most one and all add up to zero. Where no choice does, the trial is spared.

    Args:
        numbers: Atomic numbers of all atoms of the cell.
    """
    elements, counts = np.unique(np.asarray(numbers, dtype=np.int64), return_counts=True)
    pairs = list(zip(elements.tolist(), counts.tolist(), strict=True))
    states = _valences()
    return all(z in states for z, _ in pairs) and _neutral(pairs, states)


@cache
def _valences() -> dict[int, tuple[int, ...]]:
    """Atomic number to the valences that ``BVAnalyzer`` may assign."""
    from pymatgen.analysis.bond_valence import BVAnalyzer  # noqa: PLC0415

    out: dict[int, tuple[int, ...]] = {}
    for species, data in BVAnalyzer().icsd_bv_data.items():
        if species.oxi_state != 0 and data["std"] > 0:
            z = int(species.Z)
            out[z] = (*out.get(z, ()), int(species.oxi_state))
    return out


def _neutral(pairs: Sequence[tuple[int, int]], states: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether so many atoms of these elements can have charges that add up to zero."""
    charges = [_charges(states[z], n) for z, n in pairs]
    return 0 in _lowest([dict.fromkeys(sums, 0.0) for sums in charges])


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
