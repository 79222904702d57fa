"""Whole compositions that obey a rule: charge neutrality, number of elements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import comb
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element

from pyg_crysdiff.sampling.limits import MAX_ATOMS

Mask = NDArray[np.bool_]
_ENUMERATED = 20_000
_RANDOM_TRIES = 5_000
_TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
_DRAWS = 64


@dataclass(frozen=True)
class CompositionRule:
    """What a composition as a whole must be, beyond what each of its atoms may be.

    Attributes:
        charge_neutral: Valid under SMACT (CDVAE's rule).
        num_elements: Least and largest number of different elements; None for any.
    """

    charge_neutral: bool = False
    num_elements: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return self != CompositionRule()

    @property
    def most_elements(self) -> int | None:
        """Largest number of different elements."""
        return None if self.num_elements is None else self.num_elements[1]

    def accepts(self, numbers: NDArray[np.int64]) -> bool:
        """Whether the atomic numbers (N,) of a crystal obey the rule."""
        if self.num_elements is not None:
            fewest, most = self.num_elements
            if not fewest <= len(np.unique(numbers)) <= most:
                return False
        if not self.charge_neutral:
            return True
        # smact takes seconds to import; only requests for neutral compositions pay for it.
        from pyg_crysdiff.evaluation.composition import smact_validity  # noqa: PLC0415

        return smact_validity(numbers)


def parse_formula(formula: str) -> dict[str, int]:
    """Return the number of atoms of each element in a formula such as ``Ti2O4`` or ``TiO₂``.

    Raises:
        ValueError: If it is none, has an element that does not exist, parts of atoms, or more
            atoms than can be generated.
    """
    shown = f"{formula!r:.80}"
    try:
        text = normalize("NFKC", formula).strip()
        amounts = Composition(text).get_el_amt_dict()
    except (ValueError, TypeError, OverflowError) as error:
        reason = f"{error!s:.80}"
        raise ValueError(
            f"cannot read the formula {shown}: {reason}; write it like Ti2O4"
        ) from error
    if unknown := [s for s in amounts if not Element.is_valid_symbol(s)]:
        raise ValueError(f"the formula {shown} has {unknown}, no chemical element")
    # pymatgen drops what occurs zero times, and takes D for H.
    if lost := sorted(set(re.findall("[A-Z][a-z]*", text)) - set(amounts)):
        raise ValueError(f"the formula {shown} names {lost}, of which it has no atom")
    if not amounts or not all(a.is_integer() for a in amounts.values()):
        raise ValueError(f"the formula {shown} needs whole numbers of atoms")
    if sum(amounts.values()) > MAX_ATOMS:
        raise ValueError(f"the formula {shown} has more than {MAX_ATOMS:,} atoms")
    return {symbol: int(amount) for symbol, amount in amounts.items()}


def symbol_of(text: str) -> str:
    """Return the chemical symbol that a text names.

    Raises:
        ValueError: If it names none.
    """
    text = text.strip()
    if not Element.is_valid_symbol(text):
        raise ValueError(f"{text!r} is no chemical element; give symbols such as Fe")
    return text


def system_of(text: str | None) -> list[str]:
    """Return the symbols of a chemical system such as ``Li-Fe-O``; none of None.

    Raises:
        ValueError: If one is no chemical element.
    """
    return [] if text is None else [symbol_of(part) for part in re.split("[-,]", text)]


def find_composition(
    allowed: Mask, elements: Sequence[int], rule: CompositionRule
) -> list[int] | None:
    """Return classes (N,) that obey a rule, or None.

    All compositions are tried where there are at most 20,000, else 5,000 random ones of a few
    elements (three, or the most that the rule asks for) besides the fixed ones.

    Args:
        allowed: Classes that each atom may have, (N, K).
        elements: Atomic number of each class.
        rule: The rule.
    """
    numbers = np.asarray(elements)
    sole = allowed.sum(1) == 1
    fixed = allowed[sole].argmax(1)
    free = np.flatnonzero(~sole)
    if not len(free):
        return fixed.tolist() if rule.accepts(numbers[fixed]) else None
    common = np.flatnonzero(allowed[free].all(0))

    def complete(rest: Sequence[int]) -> list[int] | None:
        classes = np.empty(len(allowed), dtype=int)
        classes[sole], classes[free] = fixed, rest
        return classes.tolist() if rule.accepts(numbers[classes]) else None

    if comb(len(common) + len(free) - 1, len(free)) <= _ENUMERATED:
        candidates: Iterable[Sequence[int]] = combinations_with_replacement(
            common.tolist(), len(free)
        )
    else:
        # Elements of the fixed atoms count too, and may occur again.
        few = max(3, rule.num_elements[0]) if rule.num_elements else 3
        candidates = _random_candidates(common, np.unique(fixed), len(free), few)
    for rest in candidates:
        if (found := complete(rest)) is not None:
            return found
    return None


def _random_candidates(
    common: NDArray[np.int64], fixed: NDArray[np.int64], count: int, most: int
) -> Iterator[Sequence[int]]:
    rng = np.random.default_rng(0)
    again = np.intersect1d(common, fixed)
    for _ in range(_RANDOM_TRIES):
        few = rng.choice(common, min(len(common), int(rng.integers(1, most + 1))), replace=False)
        if len(again) and rng.random() < 0.5:
            few = np.append(few[: rng.integers(len(few))], rng.choice(again))
        yield np.sort(rng.choice(few, count)).tolist()


def draw_composition(
    probabilities: NDArray[np.float64],
    elements: Sequence[int],
    rule: CompositionRule,
    fallback: Sequence[int],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw classes (N,) from per-atom probabilities until they obey a rule.

    Where the number of elements is limited, atoms draw one after the other, the surest first, and
    once there are as many elements as there may be only among these. After 64 refused draws the
    probabilities are flattened (powers 1/2, 1/4, 1/8), and at last the atoms of a known
    composition are distributed for the largest likelihood.

    Args:
        probabilities: (N, K); zero for classes that an atom may not have.
        elements: Atomic number of each class.
        rule: The rule.
        fallback: Classes of a composition that obeys rule and constraints, (N,).
        rng: Generator.
    """
    numbers = np.asarray(elements)
    for temperature in _TEMPERATURES:
        p = probabilities ** (1 / temperature)
        p /= p.sum(1, keepdims=True)
        for _ in range(_DRAWS):
            classes = _draw(p, rule.most_elements, rng)
            if classes is not None and rule.accepts(numbers[classes]):
                return classes
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415

    species = np.asarray(fallback)
    cost = -np.log(np.maximum(probabilities[:, species], 1e-300))
    cost[probabilities[:, species] == 0] = 1e6
    _, columns = linear_sum_assignment(cost)
    return species[columns]


def _draw(
    p: NDArray[np.float64], most: int | None, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Draw one class per atom, of at most ``most`` classes; None where an atom is left without."""
    u = rng.random(len(p))
    if most is None:
        return _inverse_cumulative(p, u)
    classes = np.empty(len(p), dtype=np.int64)
    seen: list[int] = []
    for atom in np.argsort(-p.max(1), kind="stable"):
        row = p[atom]
        if len(seen) == most:
            row = np.where(np.isin(np.arange(len(row)), seen), row, 0.0)
            if not row.any():
                return None
        (drawn,) = _inverse_cumulative(row[None] / row.sum(), u[atom : atom + 1])
        classes[atom] = drawn
        if drawn not in seen:
            seen.append(int(drawn))
    return classes


def _inverse_cumulative(p: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    last = p.shape[1] - 1 - (p > 0)[:, ::-1].argmax(1)
    return np.minimum((np.cumsum(p, axis=1) <= u[:, None]).sum(1), last)
