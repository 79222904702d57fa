"""Comparisons of reduced cells within their keys, on all cores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.known.cells import Cell, Key, KeyedCell
from pyg_crysdiff.parallel import available_cores, parallel_map

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Cells of one key per task: their known ones are read once for all of them.
_TOGETHER, _TASKS_PER_WORKER = 16, 4
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
    workers = available_cores() if num_workers is None else max(1, num_workers)
    parts = [
        (key, some[start : start + size])
        for key, some in members.items()
        for size in [max(_TOGETHER, -(-len(some) // (_TASKS_PER_WORKER * workers)))]
        for start in range(0, len(some), size)
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


class Group(Protocol):
    """Cells of one key that others are compared with."""

    def first_match(self, cell: Cell, among: NDArray[np.int64]) -> int | None:
        """Return the first of some members that a cell matches, in order; None for none."""
        ...


def kinds_by_key(
    group: Callable[[list[Cell]], Group],
    keyed: Sequence[KeyedCell],
    *,
    label: str,
    num_workers: int | None,
    progress: bool,
) -> NDArray[np.int64]:
    """Return for each cell the index of the first one that is the same, itself included, (M,).

    Each is compared with the first of every kind of its key before it, in order.

    Args:
        group: From cells of one key to what compares others with them; picklable.
        keyed: Reduced primitive cells with their keys; None for what matches nothing.
        label: Text of the progress bar.
        num_workers: Processes; None for all cores.
        progress: Show a progress bar.
    """
    groups: dict[Key, list[int]] = defaultdict(list)
    for index, (key, _) in enumerate(keyed):
        if key is not None:
            groups[key].append(index)
    several = [some for some in groups.values() if len(some) > 1]
    firsts = parallel_map(
        partial(_kinds_of, group), [[keyed[i][1] for i in some] for some in several],
        num_workers=num_workers, progress=progress, label=label, serial_below=2, chunksize=1,
    )  # fmt: skip
    out = np.arange(len(keyed))
    for some, first in zip(several, firsts, strict=True):
        out[some] = np.asarray(some)[first]
    return out


def _kinds_of(
    group: Callable[[list[Cell]], Group], structures: Sequence[Structure]
) -> NDArray[np.int64]:
    cells = [Cell(structure) for structure in structures]
    compared = group(cells)
    firsts = np.zeros(len(cells), dtype=np.int64)
    count = 0
    out = np.arange(len(cells))
    for index, cell in enumerate(cells):
        kind = compared.first_match(cell, firsts[:count])
        if kind is None:
            firsts[count] = index
            count += 1
        else:
            out[index] = kind
    return out
