"""An engine from any executor of the standard library's kind: Parsl, executorlib, MPI, threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pyg_crysdiff.engine.base import WorkerKilledError
from pyg_crysdiff.engine.chunks import Parcel, run_chunk
from pyg_crysdiff.engine.driver import Pool, Pooled

_MANY = 1000  # messages under way where the number of workers is not known


@dataclass(frozen=True)
class OnExecutor(Pooled):
    """Work through an executor, which stays open.

    A broken one cannot be mended: the standard library's process pool is, once a process of it was
    killed. :class:`pyg_crysdiff.engine.Processes` starts new ones.

    Attributes:
        executor: The executor.
    """

    executor: Executor

    @contextmanager
    def _open(self) -> Iterator[Pool]:
        yield _Given(self.executor)

    def __str__(self) -> str:
        return type(self.executor).__name__


class _Given:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        workers = getattr(executor, "_max_workers", None)  # of the standard library
        self.window = 2 * workers if isinstance(workers, int) else _MANY

    def submit(self, parcel: Any, items: list[Any]) -> Future[Any]:
        return self._executor.submit(run_chunk, parcel, items)

    def share(self, parcel: Parcel) -> None:
        """Leave it to the messages; a worker keeps what it has got."""

    def renew(self, fewer: bool) -> None:
        if fewer:  # the number of workers is the caller's affair
            return
        raise WorkerKilledError(
            f"a worker of the given {type(self._executor).__name__} was killed, and it starts no "
            "other; the usual reason is too little memory"
        )

    def stop(self) -> None:
        """Leave what has begun; it is not ours."""
