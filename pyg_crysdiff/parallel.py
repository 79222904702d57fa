"""Work on all cores, in order, with a progress bar."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from typing import Any, TypeVar

from tqdm import tqdm

In = TypeVar("In")
Out = TypeVar("Out")


def parallel_map(
    work: Callable[[In], Out],
    items: Sequence[In],
    *,
    num_workers: int | None = None,
    progress: bool = True,
    label: str = "",
    serial_below: int = 200,
    chunksize: int = 32,
) -> list[Out]:
    """Apply a picklable function to every item; results in order.

    Args:
        work: The function.
        items: Its arguments.
        num_workers: Processes; None for one per core this process may use; 0 or 1 for none.
        progress: Show a progress bar.
        label: Its text.
        serial_below: With fewer items no process is started.
        chunksize: Items per message to a process.
    """
    workers = available_cores() if num_workers is None else num_workers
    options: dict[str, Any] = {"desc": label, "disable": not progress, "leave": False}
    if workers <= 1 or len(items) < serial_below:
        return [work(item) for item in tqdm(items, **options)]
    try:
        results = _pool(workers).map(work, items, chunksize=chunksize)
        return list(tqdm(results, total=len(items), **options))
    except BrokenProcessPool:
        _pool.cache_clear()
        raise


@cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """Return processes that stay: importing torch anew for every map would cost seconds."""
    # forkserver: a fork of a process that holds threads (torch) may deadlock.
    context = get_context("spawn" if os.name == "nt" else "forkserver")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_quiet)


def _quiet() -> None:
    """Leave warnings of libraries at import to the parent, which has printed them once."""
    warnings.simplefilter("ignore")


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
