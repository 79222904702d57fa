"""Uniqueness and novelty by structure matching."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.distribution import reduced_formula
from pyg_crysdiff.parallel import parallel_map

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

# pymatgen's defaults, written out since they decide the result.
LTOL, STOL, ANGLE_TOL = 0.2, 0.3, 5.0

Key = tuple[str, int]
KeyedCell = tuple[Key | None, "Structure"]


def matching_key(crystal: Crystal) -> tuple[Key | None, Structure]:
    """Return the reduced primitive cell and what two crystals must share to match at all.

    The key is the reduced formula with the number of atoms of the primitive cell: the matcher
    compares primitive cells of equal content only. A cell that cannot be reduced has no key and
    matches nothing.
    """
    if not crystal.reducible:
        return None, crystal.to_structure()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = crystal.to_structure()
        try:
            structure = structure.get_primitive_structure()
            structure = structure.get_reduced_structure()
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            pass  # cells that cannot be reduced are compared as they are
    return (structure.composition.reduced_formula, len(structure)), structure


class PrimitiveCells:
    """Reduced primitive cells with their keys, made once however often they are compared.

    Args:
        num_workers: Processes; None for all cores.
        progress: Show progress bars.
    """

    def __init__(self, *, num_workers: int | None = None, progress: bool = False) -> None:
        self._options: dict[str, Any] = {"num_workers": num_workers, "progress": progress}
        self._made: dict[Crystal, KeyedCell] = {}  # an object is its own key, whatever it holds

    def of(self, crystals: Sequence[Crystal]) -> list[KeyedCell]:
        """Return :func:`matching_key` of every crystal, in order."""
        missing = list(dict.fromkeys(c for c in crystals if c not in self._made))
        if missing:
            made = parallel_map(matching_key, missing, label="primitive cells", **self._options)
            self._made.update(zip(missing, made, strict=True))
        return [self._made[crystal] for crystal in crystals]


def first_occurrences(
    crystals: Sequence[Crystal],
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.bool_]:
    """Return whether each crystal matches none before it, (M,); the mean is the *uniqueness*.

    Arguments as in :func:`kinds`.
    """
    found = kinds(crystals, cells=cells, num_workers=num_workers, progress=progress)
    return np.asarray(found == np.arange(len(found)))


def kinds(
    crystals: Sequence[Crystal],
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.int64]:
    """Return for each crystal the index of the first one that it matches, itself included, (M,).

    Two crystals are the same if pymatgen's StructureMatcher (ltol 0.2, stol 0.3, angle 5
    degrees, primitive cells, volumes scaled) says so. Each is compared with the first of every
    kind before it, in order, and is of the first kind that it matches.

    Args:
        crystals: Valid crystals, in order.
        cells: Keeps primitive cells for the next comparison; None where there is none.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    keyed = cells.of(crystals)
    groups: dict[object, list[int]] = defaultdict(list)
    for index, (key, _) in enumerate(keyed):
        groups[index if key is None else key].append(index)
    members = [[keyed[i][1] for i in group] for group in groups.values()]
    firsts = parallel_map(
        _kinds_in_group, members, num_workers=num_workers, progress=progress,
        label="uniqueness", serial_below=2, chunksize=1,
    ) if max(map(len, members), default=0) > 1 else [[0] for _ in members]  # fmt: skip
    out = np.zeros(len(crystals), dtype=np.int64)
    for group, first in zip(groups.values(), firsts, strict=True):
        out[group] = np.asarray(group)[first]
    return out


def novel(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    *,
    cells: PrimitiveCells | None = None,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.bool_]:
    """Return whether each crystal matches none of the known (training) crystals, (M,).

    Args:
        crystals: Valid crystals.
        known: Training crystals.
        cells: See :func:`first_occurrences`.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    cells = cells or PrimitiveCells(num_workers=num_workers, progress=progress)
    keyed = cells.of(crystals)
    groups = {
        key: [structure for _, structure in members]
        for key, members in known_groups((key for key, _ in keyed), known, cells).items()
    }
    if not groups:
        return np.ones(len(crystals), dtype=bool)
    work = partial(_is_novel, groups)
    return np.array(
        parallel_map(
            work, keyed, num_workers=num_workers, progress=progress, label="novelty", chunksize=8
        ),
        dtype=bool,
    )


def known_groups(
    keys: Iterable[Key | None], known: Sequence[Crystal], cells: PrimitiveCells
) -> dict[Key, list[tuple[int, Structure]]]:
    """Return the known crystals that some crystal may match, by key.

    Args:
        keys: Keys of the crystals.
        known: Known crystals. Only those of a wanted formula are reduced.
        cells: Makes and keeps their primitive cells.

    Returns:
        Key to the index among ``known`` and the primitive cell of every member.
    """
    wanted = {key for key in keys if key is not None}
    formulas = {formula for formula, _ in wanted}
    possible = [i for i, crystal in enumerate(known) if reduced_formula(crystal) in formulas]
    groups: dict[Key, list[tuple[int, Structure]]] = defaultdict(list)
    reduced = cells.of([known[i] for i in possible])
    for index, (key, structure) in zip(possible, reduced, strict=True):
        if key is not None and key in wanted:
            groups[key].append((index, structure))
    return dict(groups)


def matcher() -> StructureMatcher:
    """Return pymatgen's matcher, for cells that are primitive already."""
    from pymatgen.analysis.structure_matcher import StructureMatcher  # noqa: PLC0415

    return StructureMatcher(LTOL, STOL, ANGLE_TOL, primitive_cell=False)


def fits(compare: StructureMatcher, known: Structure, structure: Structure) -> bool:
    """Return whether two reduced primitive cells of the same key match."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(compare.fit(known, structure, skip_structure_reduction=True))


def matches_any(structure: Structure, others: Sequence[Structure]) -> bool:
    """Return whether a reduced primitive cell matches one of others with the same key."""
    compare = matcher()
    # Nearest volumes first: a match ends the search.
    nearest = sorted(others, key=lambda s: abs(s.volume - structure.volume))
    return any(fits(compare, other, structure) for other in nearest)


def _kinds_in_group(structures: Sequence[Structure]) -> list[int]:
    compare = matcher()
    firsts: list[int] = []
    out = []
    for index, structure in enumerate(structures):
        matched = (k for k in firsts if fits(compare, structures[k], structure))
        kind = next(matched, index)
        out.append(kind)
        if kind == index:
            firsts.append(index)
    return out


def _is_novel(groups: dict[Key, list[Structure]], item: tuple[Key | None, Structure]) -> bool:
    key, structure = item
    return key is None or not matches_any(structure, groups.get(key, []))
