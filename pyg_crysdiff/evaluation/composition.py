"""Composition validity: charge neutrality and electronegativity, as CDVAE counts it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal

import numpy as np
import smact
import smact.screening
from numpy.typing import ArrayLike
from pymatgen.core import Element
from smact.utils.oxidation import ICSD24OxStatesFilter

Profile = Literal["cdvae", "cdvae-2.2.1", "smact4"]

# Facts in which the data of smact 2.2.1 (with which the published numbers were made) differ from
# those of today's package: Pauling electronegativity of Zr, oxidation states of Ir.
_ZR_ELECTRONEGATIVITY = 0.33
_IR_EXTRA, _IR_MISSING = -2, -3
_MOST_CHOICES = 20_000  # combinations of oxidation states that smact may try, some 0.1 s


def smact_validity(numbers: ArrayLike, profile: Profile = "cdvae") -> bool:
    """Whether a composition is plausible.

    A single element is valid; an alloy of metals is valid; otherwise some choice of oxidation
    states must be charge neutral for the reduced counts and have every cation less
    electronegative than every anion (Pauling test).

    Source: ``smact_validity`` in CDVAE's ``eval_utils.py`` (arXiv 2110.06197, section 5.2).

    Args:
        numbers: Atomic number of every atom.
        profile: ``cdvae``: CDVAE's rule with the oxidation states of smact 2.x, which smact 4
            ships as ``oxidation_states_smact14``. ``cdvae-2.2.1``: the same with the two data
            differences of smact 2.2.1 (Zr, Ir). ``smact4``: ``smact.screening.smact_validity``
            of the installed package, with its own lists and rules.

    Returns:
        False also for elements beyond the tables.
    """
    elements, counts = np.unique(np.asarray(numbers, dtype=np.int64), return_counts=True)
    if len(elements) == 0 or elements[0] < 1 or elements[-1] > 118:
        return False
    counts = counts // np.gcd.reduce(counts)
    return _validity(tuple(elements.tolist()), tuple(counts.tolist()), profile)


@lru_cache(maxsize=100_000)
def _validity(elements: tuple[int, ...], counts: tuple[int, ...], profile: Profile) -> bool:
    symbols = [Element.from_Z(z).symbol for z in elements]
    if profile == "smact4":
        return _smact4(symbols, counts)
    if len(symbols) == 1 or all(s in smact.metals for s in symbols):
        return True
    facts = [_facts(s, profile == "cdvae-2.2.1") for s in symbols]
    if any(states is None or eneg is None for states, eneg in facts):
        return False
    return _neutral(counts, facts)  # type: ignore[arg-type]


def _smact4(symbols: list[str], counts: tuple[int, ...]) -> bool:
    """The installed package's own verdict, or the same by our search where it would take ages."""
    states = [_smact4_states().get(s, ()) for s in symbols]
    if math.prod(map(len, states)) <= _MOST_CHOICES:
        formula = "".join(f"{s}{n}" for s, n in zip(symbols, counts, strict=True))
        try:
            return bool(smact.screening.smact_validity(formula))
        except (KeyError, NameError, TypeError, ValueError):  # elements without data
            return False
    if all(s in smact.metals for s in symbols):
        return True
    enegs = [smact.Element(s).pauling_eneg for s in symbols]
    facts = [(s, e) for s, e in zip(states, enegs, strict=True) if e is not None]
    return len(facts) == len(symbols) and _neutral(counts, facts)


@cache
def _smact4_states() -> dict[str, tuple[int, ...]]:
    """Oxidation states that ``smact.screening.smact_validity`` considers by default."""
    table = ICSD24OxStatesFilter().filter(consensus=3, include_zero=False, commonality="low")
    pairs = zip(table["element"], table["oxidation_state"], strict=True)
    return {str(s): tuple(int(x) for x in str(states).split()) for s, states in pairs}


@lru_cache(maxsize=1000)
def _facts(symbol: str, old_data: bool) -> tuple[tuple[int, ...] | None, float | None]:
    """Oxidation states and Pauling electronegativity."""
    try:
        element = smact.Element(symbol)
    except (NameError, KeyError, ValueError):
        return None, None
    states, eneg = element.oxidation_states_smact14, element.pauling_eneg
    if old_data and symbol == "Zr":
        eneg = _ZR_ELECTRONEGATIVITY
    if old_data and symbol == "Ir" and states is not None:
        states = [_IR_EXTRA if s == _IR_MISSING else s for s in states]
    return (None if not states else tuple(states)), eneg


def _neutral(counts: tuple[int, ...], facts: Sequence[tuple[tuple[int, ...], float]]) -> bool:
    """Whether some choice of states is neutral and passes the Pauling test.

    Choices that agree in charge, in the largest electronegativity of a cation and in the
    smallest of an anion have the same future, so the set of these triples stays small where
    the list of all combinations explodes.
    """
    reached = {(0, -math.inf, math.inf)}
    for count, (states, eneg) in zip(counts, facts, strict=True):
        grown = set()
        for charge, cation, anion in reached:
            for state in states:
                high = max(cation, eneg) if state > 0 else cation
                low = min(anion, eneg) if state < 0 else anion
                if high < low:
                    grown.add((charge + count * state, high, low))
        reached = grown
    return any(charge == 0 for charge, _, _ in reached)
