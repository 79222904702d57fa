"""Which symmetry operations a CIF block means."""

from __future__ import annotations

import warnings
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.formats.cif_text import Block
from pyg_crysdiff.data.formats.orbits import orbit
from pyg_crysdiff.data.formats.space_groups import (
    Operations,
    contradictions,
    fits_cell,
    named_settings,
    operations_of,
    parse_operation,
    parse_operations,
)

if TYPE_CHECKING:
    from gemmi import SpaceGroup

_FITS = 0.01  # relative change of the metric that rounded cell parameters may cause
_SAME_ATOM = 0.5  # Angstrom
_MOST_CHECKED = 500  # sites: the check costs their square for each operation
_LISTS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_centering_xyz")
_SYMBOLS = (
    "_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m", "_space_group_name_h-m_full",
    "_symmetry_space_group_name_h_m", "_space_group_name_h-m_ref",
)  # fmt: skip
_HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")


def symmetry_operations(
    block: Block,
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    numbers: NDArray[np.int64],
    num_atoms: set[float],
) -> Operations:
    """Return the operations that make the cell's atoms from the listed sites.

    A list of operations counts before a symbol. A symbol without a list is looked up; where it
    has several settings, the cell decides, then the number of atoms. Where symbols and number
    contradict each other, the smallest group counts, if the atoms obey the others, too.

    Args:
        block: The CIF block.
        lattice: Rows, Angstrom.
        frac_coords: Listed sites (n, 3).
        numbers: Their atomic numbers.
        num_atoms: Numbers of atoms in the cell that the file may mean; empty if it states none.

    Raises:
        ValueError: If the symmetry is unknown, ambiguous, contradictory, not whole, or does not fit
            the cell.
    """
    symbol, hall, number = block.get(*_SYMBOLS), block.get(*_HALL), block.get(*_NUMBERS)
    said = symbol or hall or number
    code = block.get("_space_group_it_coordinate_system_code")
    if symbol is not None and code is not None and ":" not in symbol:
        symbol = f"{symbol} :{code}"
    listed = _listed(block)
    if listed is not None:
        if not fits_cell(listed, lattice, 2 * _FITS):
            raise ValueError(f"the cell does not fit its symmetry operations (space group {said})")
        _check_not_reduced(listed, symbol, hall, number, lattice, frac_coords, numbers)
        return listed
    settings = named_settings(symbol, hall, number)
    if not settings:
        warnings.warn("no symmetry is stated; P 1 was taken", stacklevel=2)
        return np.eye(3)[None], np.zeros((1, 3))
    if others := contradictions(settings, symbol, number):
        stated = {"H-M": symbol, "Hall": hall, "number": number}
        named = ", ".join(f"{what} {text}" for what, text in stated.items() if text is not None)
        settings = _smallest([settings, *others], named, lattice, frac_coords, numbers)
    fitting = [s for s in settings if fits_cell(operations_of(s), lattice, _FITS)]
    if not fitting:
        raise ValueError(f"the cell does not fit the space group {said}; nothing lists operations")
    return operations_of(_one_origin(fitting, str(said), lattice, frac_coords, num_atoms))


def _listed(block: Block) -> Operations | None:
    for tag in _LISTS:
        texts = [t for t in block.column(tag) or () if t.strip() not in ("", ".", "?")]
        if texts:
            return parse_operations(texts)
    # A magnetic CIF: the fourth part is time reversal, which moves no atom.
    lists = [[t.rsplit(",", 1)[0] for t in block.column(tag) or ()] for tag in _MAGNETIC]
    if not lists[0]:
        return None
    first = [parse_operation(text) for text in lists[0]]
    second = [parse_operation(text) for text in lists[1] or ["x,y,z"]]
    rotations = [a @ b for (b, _), (a, _) in product(first, second)]
    shifts = [a @ t + u for (_, t), (a, u) in product(first, second)]
    return np.array(rotations), np.array(shifts)


def _one_origin(
    settings: list[SpaceGroup],
    said: str,
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    num_atoms: set[float],
) -> SpaceGroup:
    """Choose between two origins, which no cell tells apart, by the number of atoms."""
    origins = [s for s in settings if s.ext in ("1", "2")]
    if len({s.ext for s in origins}) < 2:
        return settings[0]
    counts = [_count(s, lattice, frac_coords) for s in origins]
    right = [
        s for s, n in zip(origins, counts, strict=True) if any(abs(n - m) < 0.5 for m in num_atoms)
    ]
    if len({s.ext for s in right}) == 1:
        return right[0]
    raise ValueError(
        f"the space group {said} has two choices of origin and the file does not say which; add "
        f"the symmetry operations, or ':1' or ':2' to the symbol"
    )


def _count(
    setting: SpaceGroup, lattice: NDArray[np.float64], frac_coords: NDArray[np.float64]
) -> int:
    return sum(len(orbit(place, *operations_of(setting), lattice)) for place in frac_coords)


def _smallest(
    groups: list[list[SpaceGroup]],
    named: str,
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    numbers: NDArray[np.int64],
) -> list[SpaceGroup]:
    """Return the smallest of groups that contradict each other.

    Many programs list all atoms in P 1 beside the number of the group; that group moves the atoms
    onto atoms, or is that of another cell than the listed one, such as the primitive one.

    Raises:
        ValueError: If the atoms do not obey the others, so that nothing tells which is meant.
    """
    smallest, *larger = sorted(groups, key=lambda group: len(operations_of(group[0])[0]))
    operations = operations_of(smallest[0])
    for group in larger:
        if not _fitting(group[0], lattice):
            warnings.warn(
                f"the file names space groups that contradict each other ({named}); "
                f"{smallest[0].hm} was taken, the cell does not fit {group[0].hm}", stacklevel=3
            )  # fmt: skip
            continue
        same_size = len(operations_of(group[0])[0]) == len(operations[0])
        if same_size or _obeyed(group[0], operations, lattice, frac_coords, numbers) is not True:
            raise ValueError(
                f"the file names space groups that contradict each other ({named}), and its atoms "
                "do not tell which is meant; correct one or add the symmetry operations"
            )
    return smallest


def _check_not_reduced(
    listed: Operations,
    symbol: str | None,
    hall: str | None,
    number: str | None,
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    numbers: NDArray[np.int64],
) -> None:
    """Refuse a list of fewer operations than the space group has, unless the atoms are all there.

    Many programs name the space group and list all atoms in P 1; then the group moves atoms onto
    atoms, in one of its settings. Where it does not, only the asymmetric unit is there.
    """
    try:
        group = named_settings(symbol, hall, number)
    except ValueError:
        return
    if not group or len(operations_of(group[0])[0]) <= len(listed[0]):
        return
    if _obeyed(group[0], listed, lattice, frac_coords, numbers) is False:
        raise ValueError(
            f"the space group {symbol or hall or number} has {len(operations_of(group[0])[0])} "
            f"symmetry operations, but the file lists {len(listed[0])} and not all atoms"
        )


def _obeyed(
    group: SpaceGroup,
    operations: Operations,
    lattice: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    numbers: NDArray[np.int64],
) -> bool | None:
    """Whether a group, in any setting, moves the atoms that the operations make onto atoms.

    None where this cannot be told: too many atoms, or a cell that no setting fits, such as a
    primitive one.
    """
    rotations, shifts = operations
    places = (rotations[:, None] @ frac_coords[None, :, :, None])[..., 0] + shifts[:, None]
    kinds = np.tile(numbers, len(places))
    places = places.reshape(-1, 3)
    if len(places) > _MOST_CHECKED:
        return None
    fitting = _fitting(group, lattice)
    return any(_closed(s, places, kinds, lattice) for s in fitting) if fitting else None


def _fitting(group: SpaceGroup, lattice: NDArray[np.float64]) -> list[SpaceGroup]:
    """Return the settings of a group that fit the cell."""
    settings = named_settings(None, None, str(group.number))
    return [s for s in settings if fits_cell(operations_of(s), lattice, _FITS)]


def _closed(
    setting: SpaceGroup,
    places: NDArray[np.float64],
    kinds: NDArray[np.int64],
    lattice: NDArray[np.float64],
) -> bool:
    """Whether the operations move every atom near an atom of its kind."""
    other = kinds[:, None] != kinds[None]
    for rotation, shift in zip(*operations_of(setting), strict=True):
        apart = (places @ rotation.T + shift)[:, None] - places[None]
        distances = np.linalg.norm((apart - np.round(apart)) @ lattice, axis=-1)
        distances[other] = np.inf
        if distances.min(axis=1).max() > _SAME_ATOM:
            return False
    return True
