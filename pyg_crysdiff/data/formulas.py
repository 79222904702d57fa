"""Formulas of crystals: what they are made of, and in which proportion."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pyg_crysdiff.data.crystal import Crystal

if TYPE_CHECKING:
    from pymatgen.core import Composition

_Contents = tuple[tuple[int, int], ...]


def reduced_formula(crystal: Crystal) -> str:
    """Return the reduced chemical formula, e.g. TiO2."""
    return _formula(_contents(crystal))


def anonymous_formula(crystal: Crystal) -> str:
    """Return the formula with letters for the elements, the rarest first, e.g. AB2 for TiO2."""
    return _anonymous(_contents(crystal))


def _contents(crystal: Crystal) -> _Contents:
    numbers, counts = np.unique(crystal.atomic_numbers, return_counts=True)
    return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))


@lru_cache(maxsize=50_000)  # a set of 19,000 crystals is asked for once per row of a table
def _formula(contents: _Contents) -> str:
    return _composition(contents).reduced_formula


@lru_cache(maxsize=50_000)
def _anonymous(contents: _Contents) -> str:
    return _composition(contents).anonymized_formula


def _composition(contents: _Contents) -> Composition:
    from pymatgen.core import Composition, Element  # noqa: PLC0415

    return Composition({Element.from_Z(z): n for z, n in contents})
