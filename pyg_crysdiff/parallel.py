"""Work on all cores, in order, with a progress bar.

The processes come from loky, which joblib carries: they do not run the main script anew, so that
a script without a ``__main__`` guard, standard input and notebooks can use them, and a process
that is killed is noticed.
"""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from pyg_crysdiff.foreign_warnings import silence_foreign_warnings
from pyg_crysdiff.progress import bar

In = TypeVar("In")
Out = TypeVar("Out")

_IDLE = 60  # seconds after which processes without work end; importing torch anew costs a few


class WorkerKilledError(MemoryError):
    """A worker process was killed from outside, usually by the system for want of memory."""


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

    Raises:
        ValueError: If the number of processes is negative.
        WorkerKilledError: If a process was killed, and killed again where only one was at work.
    """
    workers = available_cores() if num_workers is None else num_workers
    if workers < 0:
        raise ValueError(f"the number of worker processes must not be negative, got {workers}")
    with bar(label=label, total=len(items), show=progress) as shown:
        results: list[Out] = []
        if workers <= 1 or len(items) < serial_below:
            for item in items:
                results.append(work(item))
                shown.update()
            return results
        for processes in (workers, 1):  # one needs the least memory
            try:
                with _workers_may_end():
                    for found in _mapped(work, items[len(results) :], processes, chunksize):
                        results.append(found)
                        shown.update()
            except BrokenProcessPool:
                continue
            return results
    raise WorkerKilledError(
        f"a worker process was killed{f' ({label})' if label else ''} after {len(results)} of "
        f"{len(items)} items, and so was the only one of a second try; the usual reason is too "
        "little memory: free some, or take smaller files"
    )


def _mapped(
    work: Callable[[In], Out], items: Sequence[In], processes: int, chunksize: int
) -> Iterator[Out]:
    """Yield results from processes, which end at once where the caller is interrupted."""
    # Most calls are short and start no process.
    from joblib.externals.loky import get_reusable_executor  # noqa: PLC0415

    starts = iter(range(0, len(items), chunksize))
    waiting: deque[Future[list[Out]]] = deque()
    pool = None
    try:
        with _deaf_to_interrupts():
            pool = get_reusable_executor(
                processes, timeout=_IDLE, initializer=_prepare, initargs=(os.getpid(),)
            )
            for start in islice(starts, 2 * processes):
                waiting.append(pool.submit(_each, work, items[start : start + chunksize]))
        while waiting:
            yield from waiting.popleft().result()
            for start in islice(starts, 1):
                waiting.append(pool.submit(_each, work, items[start : start + chunksize]))
    except Exception:
        for future in waiting:
            future.cancel()
        raise
    except BaseException:  # Ctrl-C and its like
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)
        raise


def _each(work: Callable[[In], Out], chunk: Sequence[In]) -> list[Out]:
    return [work(item) for item in chunk]


@contextmanager
def _workers_may_end() -> Iterator[None]:
    """Ignore loky's warning of an idle process that ended as work came; another one is started.

    Where warnings are errors it would end loky's own thread, and nobody would bring the results.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        yield


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that start in here ignore Ctrl-C for good; a terminal sends it to all.

    They inherit what is blocked. For this process Ctrl-C only waits until the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from joblib.externals.loky.backend import resource_tracker as loky_tracker  # noqa: PLC0415

    # The trackers of shared memory unblock it where they start.
    for tracker in (multiprocessing.resource_tracker, loky_tracker):
        tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare(parent: int) -> None:
    """Say as little as the command line does; end where the parent is killed."""
    silence_foreign_warnings()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
