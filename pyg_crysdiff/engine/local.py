"""Engines of this machine: this process, and processes beside it.

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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyg_crysdiff.engine.base import USUAL, Failed, In, Out, Patience, shown_bar
from pyg_crysdiff.engine.chunks import Parcel, Raised, outcome, run_chunk
from pyg_crysdiff.engine.driver import Pool, Pooled
from pyg_crysdiff.errors import first_line
from pyg_crysdiff.foreign_warnings import silence_foreign_warnings

_IDLE = 60  # seconds after which processes without work end; importing torch anew costs a few
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Serial:
    """One item after the other, in this process."""

    def run(
        self,
        work: Callable[[In], Out],
        items: Iterable[In],
        *,
        label: str = "",
        progress: bool = False,
        chunksize: int = 1,
        patience: Patience = USUAL,
    ) -> Iterator[tuple[int, Out | Failed]]:
        """See :class:`pyg_crysdiff.engine.Engine`; ``chunksize`` is of no account."""
        del chunksize
        with shown_bar(items, label, progress) as shown:
            for index, item in enumerate(items):
                for _ in range(patience.raising):
                    found = outcome(work, item)
                    if not isinstance(found, Raised):
                        break
                shown.update()
                if isinstance(found, Raised):
                    found = Failed(first_line(found.error), found.error)
                yield index, found

    def __str__(self) -> str:
        return "this process"


@dataclass(frozen=True)
class Processes(Pooled):
    """Processes of this machine.

    Attributes:
        number: How many; None for one per core that this process may use.
    """

    number: int | None = None

    @contextmanager
    def _open(self) -> Iterator[Pool]:
        with _workers_may_end():
            yield _Loky(self.number or available_cores())

    def __str__(self) -> str:
        return f"{self.number or available_cores()} processes"


class _Loky:
    """Processes that are shared by all calls, and started anew where they were killed."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._executor: Any = None

    @property
    def window(self) -> int:
        return 2 * self._processes

    def submit(self, parcel: Any, items: list[Any]) -> Future[Any]:
        with _deaf_to_interrupts():
            if self._executor is None:
                self._executor = _executor(self._processes)
            found: Future[Any] = self._executor.submit(run_chunk, parcel, items)
            return found

    def share(self, parcel: Parcel) -> None:
        """Leave it to the messages; a worker keeps what it has got."""

    def renew(self, fewer: bool) -> None:
        self._executor = None
        if fewer:
            self._processes = max(1, self._processes // 2)

    def stop(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, kill_workers=True)


def _executor(processes: int) -> Any:
    # Most calls are short and start no process.
    from joblib.externals.loky import get_reusable_executor  # noqa: PLC0415

    return get_reusable_executor(
        processes, timeout=_IDLE, initializer=_prepare, initargs=(os.getpid(),),
        env={name: os.environ.get(name, "1") for name in _THREADS},
    )  # fmt: skip


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
