"""Symmetry operations from what a file says: a list, or a symbol with its setting.

The table of the 530 settings is spglib's. Operations are whole: (R, t) acts on fractional
coordinates as ``R @ x + t``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Operations = tuple[NDArray[np.float64], NDArray[np.float64]]
_NUM_SETTINGS = 530
# The signs of ICSD, COD and others for axes and origins -> spglib's name of the choice.
_CHOICES = {
    "h": "H", "hr": "H", "hexagonal axes": "H", "r": "R", "rh": "R", "rhombohedral axes": "R",
    "1": "1", "o1": "1", "s": "1", "origin choice 1": "1", "origin 1": "1",
    "2": "2", "o2": "2", "z": "2", "origin choice 2": "2", "origin 2": "2",
}  # fmt: skip
_SUFFIX = re.compile(
    r"\s*(?::\s*(?P<colon>[\w-]+)|\((?P<words>[\w ]+)\)|\s(?P<sign>HR|RH|[HRSZ]))$"
)
# Names from before 1992, when the sign e came for a double glide plane.
_BEFORE_E = {39: "abm2", 41: "aba2", 64: "cmca", 67: "cmma", 68: "ccca"}
_TERM = re.compile(r"([+-]?)(?:(\d+\.?\d*|\.\d+)(?:/(\d+))?\*?)?([xyz]?)")


@dataclass(frozen=True)
class Setting:
    """One of spglib's settings of a space group.

    Attributes:
        hall_number: spglib's number, 1 to 530.
        number: Number of the space group.
        choice: Axes or origin: ``H``, ``R``, ``1``, ``2``, ``b1`` ...; empty where there is one.
    """

    hall_number: int
    number: int
    choice: str

    def operations(self) -> Operations:
        """Return rotations (n, 3, 3) and translations (n, 3)."""
        return _operations(self.hall_number)


@cache
def _operations(hall_number: int) -> Operations:
    import spglib  # noqa: PLC0415

    found: Any = spglib.get_symmetry_from_database(hall_number)
    return found["rotations"].astype(float), np.round(found["translations"] * 24) / 24


def named_settings(symbol: str | None, hall: str | None, number: str | None) -> list[Setting]:
    """Return the settings that a file may mean, the standard one first; none for a file without.

    Args:
        symbol: Hermann-Mauguin symbol, perhaps with its setting (``R -3 m :H``).
        hall: Hall symbol.
        number: Number of the space group.

    Raises:
        ValueError: If what is said is in no table, or the symbol is not that of the number.
    """
    by_name, by_hall, by_number = _table()
    if hall is not None and (found := by_hall.get(_hall(hall))):
        return [found]
    if symbol is not None:
        settings = _by_symbol(symbol, by_name)
    elif hall is not None:
        raise ValueError(f"the Hall symbol {hall!r} is in no table; add the symmetry operations")
    elif number is None:
        return []
    else:
        settings = by_number.get(int(number) if number.isdigit() else 0, [])
        if not settings:
            raise ValueError(f"{number!r} is no number of a space group (1 to 230)")
    return settings


def _by_symbol(symbol: str, by_name: dict[str, list[Setting]]) -> list[Setting]:
    choice, name = None, symbol.strip().strip("'\"")
    settings = by_name.get(_plain(name))
    if settings is None and (suffix := _SUFFIX.search(name)):
        said = suffix["colon"] or suffix["words"] or suffix["sign"]
        choice = _CHOICES.get(said.lower().strip(), said.lower())
        settings = by_name.get(_plain(name[: suffix.start()]), [])
        settings = [s for s in settings if s.choice.lower() == choice.lower()]
    if not settings:
        raise ValueError(
            f"the space group {symbol!r} is in no table, so its symmetry is unknown; add the "
            "symmetry operations or save the cell in P 1"
        )
    return settings


def _plain(name: str) -> str:
    return re.sub(r"[\s_]", "", name).lower()


def _hall(symbol: str) -> str:
    """Blanks count here: ``P 3 2`` is not ``P 32``."""
    return " ".join(symbol.replace("_", " ").split()).lower().replace("=", '"')


@cache
def _table() -> tuple[dict[str, list[Setting]], dict[str, Setting], dict[int, list[Setting]]]:
    import spglib  # noqa: PLC0415

    by_name: dict[str, list[Setting]] = {}
    by_hall: dict[str, Setting] = {}
    by_number: dict[int, list[Setting]] = {}
    for hall_number in range(1, _NUM_SETTINGS + 1):
        kind: Any = spglib.get_spacegroup_type(hall_number)
        setting = Setting(hall_number, kind.number, kind.choice)
        for name in _names(kind):
            by_name.setdefault(name, []).append(setting)
        if kind.number in _BEFORE_E and kind.number not in by_number:
            by_name.setdefault(_BEFORE_E[kind.number], []).append(setting)
        by_hall.setdefault(_hall(kind.hall_symbol), setting)
        by_number.setdefault(kind.number, []).append(setting)
    return by_name, by_hall, by_number


def _names(kind: Any) -> set[str]:
    """All spellings of a setting's symbol: short, full, without ones, and the old cubic ones."""
    names = {_plain(kind.international_full)}
    own = kind.international.split("=")
    # The left of "P 2_1/c = P 1 2_1/n 1" is the group's name, which only its first setting owns.
    names |= {_plain(part) for part in own[1:]} if len(own) > 1 else {_plain(own[0])}
    if 3 <= kind.number <= 15:
        words = [w for w in kind.international_full.split()[1:] if w != "1"]
        names.add(_plain(kind.international_full.split()[0] + "".join(words)))
    if kind.number >= 195:
        names |= {name.replace("-3", "3") for name in names}
    return names


def parse_operation(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read one operation such as ``-x+1/2, y, z``.

    Returns:
        Rotation (3, 3) and translation (3,).

    Raises:
        ValueError: If it is none.
    """
    parts = text.lower().replace(" ", "").strip("'\"").split(",")
    rotation, shift = np.zeros((3, 3)), np.zeros(3)
    for row, part in enumerate(parts[:3]):
        at = 0
        while at < len(part):
            found = _TERM.match(part, at)
            if found is None or found.end() == at or found[0] in "+-":
                raise ValueError(f"the symmetry operation {text!r} cannot be read")
            sign, digits, below, axis = found.groups()
            if below is not None and int(below) == 0:
                raise ValueError(f"the symmetry operation {text!r} divides by zero")
            value = float(digits or 1) / float(below or 1) * (-1 if sign == "-" else 1)
            if axis:
                rotation[row, "xyz".index(axis)] += value
            else:
                shift[row] += value
            at = found.end()
    if len(parts) != 3 or not np.isclose(abs(np.linalg.det(rotation)), 1, atol=1e-6):
        raise ValueError(f"the symmetry operation {text!r} cannot be read")
    return rotation, shift


def parse_operations(texts: list[str]) -> Operations:
    """Read a list of operations and check that it is whole: a product of two is in it again.

    Raises:
        ValueError: If one cannot be read or some are missing.
    """
    if len(texts) > 400:
        raise ValueError(f"{len(texts)} symmetry operations are more than a space group has")
    parsed = [parse_operation(text) for text in texts]
    rotations = np.array([r for r, _ in parsed])
    shifts = np.array([t for _, t in parsed])
    products = np.einsum("aij,bjk->abik", rotations, rotations)
    moved = np.einsum("aij,bj->abi", rotations, shifts) + shifts[:, None]
    if not np.isin(_keys(products, moved), _keys(rotations, shifts)).all():
        raise ValueError(
            "the list of symmetry operations is not whole: a product of two is missing"
        )
    return rotations, shifts


def _keys(rotations: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """One number for each operation, equal where rotations and shifts (up to whole ones) are."""
    whole = [
        np.round(rotations * 24).reshape(*rotations.shape[:-2], 9),
        np.round(shifts * 24) % 24,
    ]
    weights = np.sqrt(np.arange(2.0, 14.0))
    return np.round(np.concatenate(whole, axis=-1) @ weights, 6)


def fits_cell(operations: Operations, lattice: NDArray[np.float64], tolerance: float) -> bool:
    """Whether the operations are isometries of the cell.

    Args:
        operations: Rotations and translations on fractional coordinates.
        lattice: Rows, Angstrom.
        tolerance: Largest relative change of an element of the metric.
    """
    metric = lattice @ lattice.T
    lengths = np.sqrt(np.diag(metric))
    moved = np.einsum("nji,jk,nkl->nil", operations[0], metric, operations[0])
    return bool((abs(moved - metric) / np.outer(lengths, lengths)).max() <= tolerance)
