"""Uniqueness and novelty by structure matching."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

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


def first_occurrences(
    crystals: Sequence[Crystal], *, num_workers: int | None = None, progress: bool = False
) -> NDArray[np.bool_]:
    """Return whether each crystal matches none before it, (M,).

    Two crystals are the same if pymatgen's StructureMatcher (ltol 0.2, stol 0.3, angle 5
    degrees, primitive cells, volumes scaled) says so. The mean is the *uniqueness*.

    Args:
        crystals: Valid crystals, in order.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    keyed = _keyed(crystals, num_workers, progress)
    groups: dict[object, list[int]] = defaultdict(list)
    for index, (key, _) in enumerate(keyed):
        groups[index if key is None else key].append(index)
    members = [[keyed[i][1] for i in group] for group in groups.values()]
    flags = parallel_map(
        _first_in_group, members, num_workers=num_workers, progress=progress,
        label="uniqueness", serial_below=2, chunksize=1,
    ) if max(map(len, members), default=0) > 1 else [[True] for _ in members]  # fmt: skip
    out = np.zeros(len(crystals), dtype=bool)
    for group, first in zip(groups.values(), flags, strict=True):
        out[group] = first
    return out


def novel(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    *,
    num_workers: int | None = None,
    progress: bool = False,
) -> NDArray[np.bool_]:
    """Return whether each crystal matches none of the known (training) crystals, (M,).

    Args:
        crystals: Valid crystals.
        known: Training crystals.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    keyed = _keyed(crystals, num_workers, progress)
    wanted = {key for key, _ in keyed if key is not None}
    formulas = {formula for formula, _ in wanted}
    groups: dict[Key, list[Structure]] = defaultdict(list)
    possible = [c for c in known if reduced_formula(c) in formulas]
    for key, structure in _keyed(possible, num_workers, progress):
        if key is not None and key in wanted:
            groups[key].append(structure)
    if not groups:
        return np.ones(len(crystals), dtype=bool)
    work = partial(_is_novel, dict(groups))
    return np.array(
        parallel_map(
            work, keyed, num_workers=num_workers, progress=progress, label="novelty", chunksize=8
        ),
        dtype=bool,
    )


def _keyed(
    crystals: Sequence[Crystal], num_workers: int | None, progress: bool
) -> list[tuple[Key | None, Structure]]:
    return parallel_map(
        matching_key, crystals, num_workers=num_workers, progress=progress, label="primitive cells"
    )


def _matcher() -> StructureMatcher:
    from pymatgen.analysis.structure_matcher import StructureMatcher  # noqa: PLC0415

    return StructureMatcher(LTOL, STOL, ANGLE_TOL, primitive_cell=False)


def _fit(matcher: StructureMatcher, a: Structure, b: Structure) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(matcher.fit(a, b, skip_structure_reduction=True))


def matches_any(structure: Structure, others: Sequence[Structure]) -> bool:
    """Return whether a reduced primitive cell matches one of others with the same key."""
    matcher = _matcher()
    # Nearest volumes first: a match ends the search.
    nearest = sorted(others, key=lambda s: abs(s.volume - structure.volume))
    return any(_fit(matcher, other, structure) for other in nearest)


def _first_in_group(structures: Sequence[Structure]) -> list[bool]:
    matcher = _matcher()
    kept: list[Structure] = []
    first = []
    for structure in structures:
        new = not any(_fit(matcher, other, structure) for other in kept)
        first.append(new)
        if new:
            kept.append(structure)
    return first


def _is_novel(groups: dict[Key, list[Structure]], item: tuple[Key | None, Structure]) -> bool:
    key, structure = item
    return key is None or not matches_any(structure, groups.get(key, []))
