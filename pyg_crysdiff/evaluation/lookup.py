"""The look-up judge: the known value of the known crystal that a generated one matches.

A learned evaluator errs most where a generator looks for extremes. Where a generated crystal
matches one whose property was computed, that value needs no model. For Perov-5, an enumeration
whose three files are the whole of it, nearly every generated crystal can be looked up.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.uniqueness import known_groups
from pyg_crysdiff.known.cells import Cell, Key, PrimitiveCells, matcher
from pyg_crysdiff.known.comparing import CellGroup
from pyg_crysdiff.parallel import parallel_map

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

# One task: the generated cells of one key, and the known ones with their indices.
_Task = tuple[list["Structure"], list[tuple[int, "Structure"]]]


@dataclass(frozen=True)
class LookUp:
    """Known crystals that generated ones match.

    Attributes:
        index: Index of the known crystal that each one matches, (M,); -1 where there is none.
        value: Its value of the property, (M,); NaN where there is none.
    """

    index: NDArray[np.int64]
    value: NDArray[np.float64]


def look_up(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    property_name: str,
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> LookUp:
    """Find the known crystal that each generated one matches, and its value of a property.

    Two crystals match if pymatgen's StructureMatcher says so, with the tolerances of
    :func:`pyg_crysdiff.evaluation.uniqueness.first_occurrences`: exactly where ``novel`` against
    the same known crystals is False. The roles of the elements count: A and B of a perovskite may
    not be swapped. Of several that match the one with the smallest RMS distance is taken (to
    1e-6 of the length per atom); of equal ones that of the nearest volume, since the matcher
    scales volumes; of these the first.

    Args:
        crystals: Structurally valid crystals.
        known: Known crystals with values in ``info``. Those without a value take no part.
        property_name: Name of the property.
        cells: Keeps primitive cells for other comparisons; None where there are none.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    places = [i for i, crystal in enumerate(known) if has_value(crystal, property_name)]
    tasks, members = _tasks(crystals, [known[i] for i in places], cells)
    found = parallel_map(
        _best_matches, tasks, num_workers=num_workers, progress=progress, label="look-up",
        chunksize=8,
    )  # fmt: skip
    index = np.full(len(crystals), -1, dtype=np.int64)
    value = np.full(len(crystals), np.nan)
    for group, matches in zip(members, found, strict=True):
        for i, match in zip(group, matches, strict=True):
            if match is not None:
                index[i] = places[match]
                value[i] = known[places[match]].info[property_name]
    return LookUp(index, value)


def has_value(crystal: Crystal, property_name: str) -> bool:
    """Return whether a crystal carries a finite value of a property."""
    value = crystal.info.get(property_name)
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def _tasks(
    crystals: Sequence[Crystal], known: Sequence[Crystal], cells: PrimitiveCells
) -> tuple[list[_Task], list[list[int]]]:
    """Return the work by key, and for each task the indices of its crystals."""
    keyed = cells.of(crystals)
    groups = known_groups((key for key, _ in keyed), known, cells)
    members: dict[Key, list[int]] = defaultdict(list)
    for i, (key, _) in enumerate(keyed):
        if key is not None and key in groups:
            members[key].append(i)
    tasks = [([keyed[i][1] for i in some], groups[key]) for key, some in members.items()]
    return tasks, list(members.values())


def _best_matches(task: _Task) -> list[int | None]:
    compare = matcher()
    structures, members = task
    known = CellGroup(compare, [Cell(structure) for _, structure in members])
    places = [_best_match(compare, Cell(structure), known) for structure in structures]
    return [None if place is None else members[place][0] for place in places]


def _best_match(compare: StructureMatcher, cell: Cell, known: CellGroup) -> int | None:
    matched = known.matches(cell)
    if len(matched) > 1:  # of equal ones the first stays first
        matched.sort(key=lambda i: _distance(compare, known.cells[i].structure, cell.structure))
    return matched[0] if matched else None


def _distance(
    compare: StructureMatcher, known: Structure, structure: Structure
) -> tuple[float, float]:
    """RMS distance and log ratio of volumes, rounded so that equal ones compare as equal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compare.get_rms_dist(known, structure)
    rms = math.inf if found is None else round(float(found[0]), 6)
    return rms, round(abs(math.log(known.volume / structure.volume)), 6)


def lookup_columns(
    entries: Sequence[Crystal | BrokenEntry],
    usable: Sequence[bool],
    parts: Mapping[str, Sequence[Crystal]],
    property_name: str,
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> dict[str, list]:
    """Return the columns of an evaluation's table that a look-up fills.

    Args:
        entries: Entries of a sample file, (M,).
        usable: Whether each is structurally valid, (M,). The others match nothing.
        parts: Name of the part to known crystals.
        property_name: Name of the property.
        cells: See :func:`look_up`.
        num_workers: See :func:`look_up`.
        progress: See :func:`look_up`.

    Returns:
        ``known_value`` (NaN where nothing matches), ``known_part`` ("" there), ``known_index``
        within the part (-1 there) and ``known_id``, the ``material_id`` of the known crystal
        ("" there, and where it has none).
    """
    places = [(part, i) for part, crystals in parts.items() for i in range(len(crystals))]
    known = [crystal for crystals in parts.values() for crystal in crystals]
    chosen = [
        (row, entry)
        for row, (entry, ok) in enumerate(zip(entries, usable, strict=True))
        if ok and isinstance(entry, Crystal)
    ]
    found = look_up(
        [entry for _, entry in chosen], known, property_name,
        cells=cells, num_workers=num_workers, progress=progress,
    )  # fmt: skip
    columns: dict[str, list] = {
        "known_value": [math.nan] * len(entries),
        "known_part": [""] * len(entries),
        "known_index": [-1] * len(entries),
        "known_id": [""] * len(entries),
    }
    for (row, _), index, value in zip(chosen, found.index, found.value, strict=True):
        if index >= 0:
            columns["known_value"][row] = float(value)
            columns["known_part"][row], columns["known_index"][row] = places[index]
            columns["known_id"][row] = str(known[index].info.get("material_id", ""))
    return columns
