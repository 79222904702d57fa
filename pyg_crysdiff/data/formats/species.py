"""Symbols of species to atomic numbers, the same for every format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Element

MOST_PROTONS = 118
MOST_ATOMS = 20_000  # in one crystal; a damaged count must not fill the memory
_NUMBERS = {Element.from_Z(z).symbol: z for z in range(1, MOST_PROTONS + 1)} | {"D": 1, "T": 1}
_SYMBOLS = {z: symbol for symbol, z in _NUMBERS.items() if symbol not in ("D", "T")}
# An element, and perhaps its charge: Fe, FE, Fe3+, Fe+3, O2-, Fe2.67+
_SYMBOL = re.compile(r"([A-Za-z]{1,3})(?:\d*\.?\d*[+-]|[+-]\d*\.?\d*)?")
_LABEL = re.compile(r"([A-Za-z]+)")


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element's symbol; D and T are hydrogen.

    Args:
        symbol: Symbol in any case, with or without a charge.

    Raises:
        ValueError: If it is no element: a dummy (X, Q), a vacancy, a group of atoms.
    """
    found = _SYMBOL.fullmatch(symbol.strip())
    number = _NUMBERS.get(found[1].capitalize()) if found else None
    if number is None:
        raise ValueError(
            f"{symbol.strip()!r} is no element (a dummy, a vacancy or a group of atoms)"
        )
    return number


def symbol_of(number: int) -> str:
    """Return the symbol of an atomic number from 1 to 118."""
    return _SYMBOLS[number]


def number_of_label(label: str, stated: Iterable[str] = ()) -> int:
    """Return the atomic number that a site's label begins with (``Na1``, ``CL2``).

    Args:
        label: Label of the site, where the file has no symbol beside it.
        stated: Elements of the formula that the file states; they decide between ``Co`` and C.

    Raises:
        ValueError: If the label names no element, or may name two.
    """
    found = _LABEL.match(label)
    letters = found[1] if found else ""
    whole = letters.capitalize() if letters.capitalize() in _NUMBERS else None
    single = letters[:1].upper() if letters[:1].upper() in _NUMBERS else None
    elements = set(stated)
    readings = {s for s in (whole, single) if s in elements} if elements else {whole} - {None}
    mixed = len(letters) == 2 and letters.isupper() and not elements
    if (mixed and all(letter in _NUMBERS for letter in letters)) or len(readings) != 1:
        raise ValueError(
            f"the label {label!r} names no element for certain; add _atom_site_type_symbol"
        )
    return _NUMBERS[str(readings.pop())]


def check_species(numbers: Sequence[int] | NDArray[np.int64]) -> None:
    """Refuse atomic numbers that are no elements, no atoms at all, and absurdly many.

    Raises:
        ValueError: If an atomic number is not between 1 and 118, or there are no atoms or more
            than 20,000.
    """
    if len(numbers) == 0:
        raise ValueError("the structure has no atoms")
    if len(numbers) > MOST_ATOMS:
        raise ValueError(f"{len(numbers)} atoms are more than the {MOST_ATOMS} that are read")
    bad = sorted({int(z) for z in numbers if not 1 <= z <= MOST_PROTONS})
    if bad:
        raise ValueError(
            f"atomic number {bad[0]} is no element (a dummy or a vacancy): it must be 1 to "
            f"{MOST_PROTONS}"
        )
