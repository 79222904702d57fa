"""Dask: a cluster of this machine, or a scheduler that runs anywhere."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyg_crysdiff.engine.chunks import Parcel, run_chunk
from pyg_crysdiff.engine.driver import Pool, Pooled
from pyg_crysdiff.engine.local import available_cores

log = logging.getLogger(__name__)
_ANSWER = 30  # seconds in which a scheduler must answer
_END = 10  # seconds in which the workers of this machine may end
_COUNT = 5.0  # seconds between two looks at the number of workers
_LEAST = 64  # messages under way, however few workers there are: more may come


@dataclass(frozen=True)
class Dask(Pooled):
    """Work through a Dask scheduler.

    Attributes:
        client: A :class:`distributed.Client`, which stays open.
    """

    client: Any

    @contextmanager
    def _open(self) -> Iterator[Pool]:
        with _no_words_of_size():
            yield _Scheduler(self.client)

    def __str__(self) -> str:
        workers = len(self.client.scheduler_info()["workers"])
        return (
            f"Dask scheduler {self.client.scheduler.address}, {workers} workers, dashboard "
            f"{self.client.dashboard_link}"
        )


class _Scheduler:
    def __init__(self, client: Any) -> None:
        self._client = client
        # Dask takes equal calls for one, also where the first of them has failed.
        self._executor = client.get_executor(pure=False)
        self._parcel: Parcel | None = None
        self._shared: Any = None  # the task whose result is the parcel
        self._window, self._counted = _LEAST, -_COUNT

    @property
    def window(self) -> int:
        if time.monotonic() - self._counted > _COUNT:
            threads = sum(self._client.nthreads().values())
            if not threads:
                log.warning("no workers at %s yet", self._client.scheduler.address)
            self._window, self._counted = max(_LEAST, 4 * threads), time.monotonic()
        return self._window

    def submit(self, parcel: Any, items: list[Any]) -> Future[Any]:
        shared = self._on_workers() if parcel is self._parcel else parcel
        found: Future[Any] = self._executor.submit(run_chunk, shared, items)
        return found

    def share(self, parcel: Parcel) -> Parcel:
        """Let a parcel be the result of a task, which Dask brings from worker to worker."""
        self._parcel = parcel
        return parcel

    def _on_workers(self) -> Any:
        """Return the task, a new one where it fell with a worker.

        Dask makes the result again where all who have it were lost.
        """
        if self._shared is None or self._shared.status in ("error", "lost", "cancelled"):
            self._shared = self._client.submit(_itself, self._parcel, pure=False)
        return self._shared

    def renew(self, fewer: bool) -> None:
        """Leave it to Dask, which has its own ways to replace workers."""

    def stop(self) -> None:
        """Leave what has begun; Dask cannot end it."""


def _itself(parcel: Parcel) -> Parcel:
    return parcel


@contextmanager
def local(number: int | None = None) -> Iterator[Dask]:
    """Start a cluster of this machine, with one thread per worker.

    The workers are started by Dask's command. Started from this process, they would run the main
    script anew, which needs a guard there and fails on standard input.

    Args:
        number: Workers; None for one per core that this process may use.
    """
    dask, distributed = _import()
    workers = number or available_cores()
    with ExitStack() as held:
        # A lost worker is told at once: what is tried how often is decided here.
        held.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
        cluster = held.enter_context(_scheduler(distributed))
        held.enter_context(_workers(cluster.scheduler_address, workers))
        client = held.enter_context(distributed.Client(cluster, set_as_default=False))
        client.wait_for_workers(workers, timeout=_ANSWER * 4)
        yield Dask(client)


def _scheduler(distributed: Any) -> Any:
    """Start a scheduler in this process, with its dashboard at the usual port if that is free."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Port .* is already in use", UserWarning)
        return distributed.LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:8787",
            silence_logs=logging.CRITICAL,
        )  # fmt: skip


@contextmanager
def existing(where: str) -> Iterator[Dask]:
    """Connect to a scheduler.

    Args:
        where: Its address, or its JSON file (``dask scheduler --scheduler-file FILE``).

    Raises:
        ValueError: If it does not answer.
    """
    _, distributed = _import()
    options = {"scheduler_file": where} if where.endswith(".json") else {"address": where}
    if "scheduler_file" in options and not Path(where).is_file():
        raise ValueError(f"there is no scheduler file {where}")
    try:
        client = distributed.Client(**options, timeout=_ANSWER, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ValueError(
            f"no Dask scheduler answers at {where}; start one (dask scheduler) and give its address"
        ) from error
    with client:
        yield Dask(client)


@contextmanager
def _workers(address: str, number: int) -> Iterator[None]:
    """Run workers, which are started anew where they are killed, and end with this process."""
    command = [
        sys.executable, "-m", "distributed.cli.dask_worker", address, "--nworkers", str(number),
        "--nthreads", "1", "--memory-limit", "0", "--no-dashboard",
    ]  # fmt: skip
    paths = [path or str(Path.cwd()) for path in sys.path]
    env = {
        "DASK_LOGGING__DISTRIBUTED": "critical",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
    }
    # In a session of its own: Ctrl-C on a terminal is for this process.
    with subprocess.Popen(command, env=env, start_new_session=True) as process:
        try:
            yield
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END)
        finally:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, and all that it has started."""
    if process.poll() is not None:
        return
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:  # Windows
        process.kill()


@contextmanager
def _no_words_of_size() -> Iterator[None]:
    """Let Dask not advise on large messages: there is one of them per piece of work."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        yield


def _import() -> tuple[Any, Any]:
    try:
        import dask  # noqa: PLC0415  (optional)
        import distributed  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'this engine needs Dask: pip install "pyg_crysdiff[dask]"', name=error.name
        ) from error
    return dask, distributed
