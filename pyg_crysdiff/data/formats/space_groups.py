"""Symmetry operations from what a file says: a list, or a symbol with its setting.

The table of the 564 settings and their names is gemmi's. Operations are whole: (R, t) acts on
fractional coordinates as ``R @ x + t``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gemmi import SpaceGroup

Operations = tuple[NDArray[np.float64], NDArray[np.float64]]
# The signs of ICSD, COD and others for axes and origins -> those of the table.
_CHOICES = {
    "hr": "h", "hexagonal axes": "h", "rh": "r", "rhombohedral axes": "r",
    "o1": "1", "s": "1", "origin choice 1": "1", "origin 1": "1",
    "o2": "2", "z": "2", "origin choice 2": "2", "origin 2": "2",
}  # fmt: skip
_SUFFIX = re.compile(
    r"\s*(?::\s*(?P<colon>[\w-]+)|\((?P<words>[\w ]+)\)|\s(?P<sign>HR|RH|[HRSZ]))$"
)
# What a full symbol has more than the short one: P 4/m 2/m 2/m, F 41/d -3 2/m.
_FULL = re.compile(r"(?<!\d)(?:21?/(?=[a-z])|4[1-3]?/(?=[a-z] -?3))", re.IGNORECASE)
_TERM = re.compile(r"([+-]?)(?:(\d+\.?\d*|\.\d+)(?:/(\d+))?\*?)?([xyz]?)")


def operations_of(setting: SpaceGroup) -> Operations:
    """Return rotations (n, 3, 3) and translations (n, 3) of a setting."""
    return _operations(setting.hall)


@cache
def _operations(hall: str) -> Operations:
    import gemmi  # noqa: PLC0415

    found = list(gemmi.symops_from_hall(hall))
    rotations, shifts = np.array([op.rot for op in found]), np.array([op.tran for op in found])
    return rotations / gemmi.Op.DEN, shifts / gemmi.Op.DEN


def named_settings(symbol: str | None, hall: str | None, number: str | None) -> list[SpaceGroup]:
    """Return the settings that a file may mean, the standard one first; none for a file without.

    A known Hall symbol counts before the Hermann-Mauguin symbol, and that before the number;
    :func:`contradictions` compares them.

    Args:
        symbol: Hermann-Mauguin symbol, perhaps with its setting (``R -3 m :H``).
        hall: Hall symbol.
        number: Number of the space group.

    Raises:
        ValueError: If what counts is in no table.
    """
    _, by_hall, by_number = _table()
    if hall is not None and (found := by_hall.get(_hall(hall))):
        return [found]
    if symbol is not None:
        settings = _by_symbol(symbol)
    elif hall is not None:
        raise ValueError(f"the Hall symbol {hall!r} is in no table; add the symmetry operations")
    elif number is None:
        return []
    else:
        settings = by_number.get(int(number) if number.isdecimal() else 0, [])
        if not settings:
            raise ValueError(f"{number!r} is no number of a space group (1 to 230)")
    return settings


def contradictions(
    settings: list[SpaceGroup], symbol: str | None, number: str | None
) -> list[list[SpaceGroup]]:
    """Return what the symbol and the number mean, where that is none of the settings.

    Args:
        settings: What the file was taken to mean, by :func:`named_settings`.
        symbol: Hermann-Mauguin symbol; one in no table says nothing.
        number: Number of the space group; one that is none (0, as some programs write) says
            nothing.
    """
    _, _, by_number = _table()
    try:
        said = [_by_symbol(symbol)] if symbol is not None else []
    except ValueError:
        said = []
    if number is not None and number.isdecimal():
        said.append(by_number.get(int(number), []))
    known = {s.hall for s in settings}
    return [other for other in said if other and known.isdisjoint(s.hall for s in other)]


def _by_symbol(symbol: str) -> list[SpaceGroup]:
    name = symbol.strip().strip("'\"")
    settings = _by_name(name)
    if not settings and (suffix := _SUFFIX.search(name)):
        said = (suffix["colon"] or suffix["words"] or suffix["sign"]).lower().strip()
        choice = _CHOICES.get(said, said)
        settings = [s for s in _by_name(name[: suffix.start()]) if _choice(s) == choice]
    if not settings:
        raise ValueError(
            f"the space group {symbol!r} is in no table, so its symmetry is unknown; add the "
            "symmetry operations or save the cell in P 1"
        )
    return settings


def _by_name(name: str) -> list[SpaceGroup]:
    """Return the settings of a short, full or old name without a sign of the setting."""
    import gemmi  # noqa: PLC0415

    by_name, _, _ = _table()
    for spelling in (name, _FULL.sub("", name.replace("_", ""))):
        plain = _plain(spelling)
        if plain in by_name:
            return by_name[plain]
        # gemmi knows old names, but takes a number for a name, and any sign behind a colon.
        known = plain[:1].isalpha() and ":" not in plain
        if known and (other := gemmi.find_spacegroup_by_name(plain)) is not None:
            return by_name[_plain(other.hm)]
    return []


def _choice(setting: SpaceGroup) -> str:
    """Return the axes or origin (``h``, ``r``, ``1``, ``b1``, ``2cab``) where it has a name."""
    return (setting.ext.strip("\x00") + setting.qualifier).lower()


def _plain(name: str) -> str:
    return re.sub(r"[\s_]", "", name).lower()


def _hall(symbol: str) -> str:
    """Blanks count here: ``P 3 2`` is not ``P 32``."""
    return " ".join(symbol.replace("_", " ").split()).lower().replace("=", '"')


@cache
def _table() -> tuple[
    dict[str, list[SpaceGroup]], dict[str, SpaceGroup], dict[int, list[SpaceGroup]]
]:
    import gemmi  # noqa: PLC0415

    by_name: dict[str, list[SpaceGroup]] = {}
    by_hall: dict[str, SpaceGroup] = {}
    by_number: dict[int, list[SpaceGroup]] = {}
    for setting in gemmi.spacegroup_table():
        names = {_plain(setting.hm), _plain(setting.short_name())}
        if 3 <= setting.number <= 15:  # P 21/c is any of P 1 21/c 1, P 21/c 1 1
            names.add(_plain(" ".join(word for word in setting.hm.split() if word != "1")))
        for name in names:
            by_name.setdefault(name, []).append(setting)
        by_hall.setdefault(_hall(setting.hall), setting)
        by_number.setdefault(setting.number, []).append(setting)
    return by_name, by_hall, by_number


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
