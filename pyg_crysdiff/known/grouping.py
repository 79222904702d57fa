"""Comparisons of reduced cells within their keys, on all cores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.known.cells import Cell, Key, KeyedCell
from pyg_crysdiff.parallel import parallel_map

if TYPE_CHECKING:
    from pymatgen.core import Structure

_TOGETHER = 16  # cells of one key per task: their known ones are read once for all of them
_FEW = 200  # cells; for less, starting processes takes longer than the work
T = TypeVar("T")
K = TypeVar("K")


def search_by_key(
    work: Callable[[tuple[Key, K, list[Structure]]], list[T]],
    keyed: Sequence[KeyedCell],
    known: Mapping[Key, K],
    *,
    num_workers: int | None,
    progress: bool,
) -> list[T | None]:
    """Search for cells among known ones of the same key, some of one key at a time.

    Args:
        work: From a key, what is known of it, and some cells of it to what is found for each.
        keyed: Reduced primitive cells with their keys; None for what matches nothing.
        known: Keys that known cells have, and what ``work`` needs to know of each.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.

    Returns:
        What was found for every cell; None where no known cell has its key.
    """
    members: dict[Key, list[int]] = defaultdict(list)
    for i, (key, _) in enumerate(keyed):
        if key is not None and key in known:
            members[key].append(i)
    parts = [
        (key, some[start : start + _TOGETHER])
        for key, some in members.items()
        for start in range(0, len(some), _TOGETHER)
    ]
    few = sum(len(some) for _, some in parts) < _FEW
    results = parallel_map(
        work, [(key, known[key], [keyed[i][1] for i in some]) for key, some in parts],
        num_workers=num_workers, progress=progress, label="known crystals", chunksize=4,
        serial_below=len(parts) + 1 if few else 2,
    )  # fmt: skip
    out: list[T | None] = [None] * len(keyed)
    for (_, some), found in zip(parts, results, strict=True):
        for i, one in zip(some, found, strict=True):
            out[i] = one
    return out


def kinds_by_key(
    same: Callable[[Cell, Cell], bool],
    keyed: Sequence[KeyedCell],
    *,
    label: str,
    num_workers: int | None,
    progress: bool,
) -> NDArray[np.int64]:
    """Return for each cell the index of the first one that is the same, itself included, (M,).

    Each is compared with the first of every kind of its key before it, in order.

    Args:
        same: Whether two cells of one key are the same; picklable.
        keyed: Reduced primitive cells with their keys; None for what matches nothing.
        label: Text of the progress bar.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    groups: dict[Key, list[int]] = defaultdict(list)
    for index, (key, _) in enumerate(keyed):
        if key is not None:
            groups[key].append(index)
    several = [group for group in groups.values() if len(group) > 1]
    firsts = parallel_map(
        partial(_kinds_of, same), [[keyed[i][1] for i in group] for group in several],
        num_workers=num_workers, progress=progress, label=label, serial_below=2, chunksize=1,
    )  # fmt: skip
    out = np.arange(len(keyed))
    for group, first in zip(several, firsts, strict=True):
        out[group] = np.asarray(group)[first]
    return out


def _kinds_of(same: Callable[[Cell, Cell], bool], structures: Sequence[Structure]) -> list[int]:
    cells = [Cell(structure) for structure in structures]
    firsts: list[int] = []
    out = []
    for index, cell in enumerate(cells):
        kind = next((k for k in firsts if same(cells[k], cell)), index)
        out.append(kind)
        if kind == index:
            firsts.append(index)
    return out
