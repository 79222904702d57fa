"""Which engine is in charge, and how one is named."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from pyg_crysdiff.engine.base import Engine
from pyg_crysdiff.engine.chunks import is_inside_worker
from pyg_crysdiff.engine.executors import OnExecutor
from pyg_crysdiff.engine.local import Processes, Serial, available_cores

NAMES = "serial, processes, processes:4, dask, dask:4, tcp://HOST:PORT or a scheduler file (.json)"
_chosen: ContextVar[Engine | None] = ContextVar("engine", default=None)


@contextmanager
def using_engine(spec: str | Executor | Engine | None) -> Iterator[Engine]:
    """Let all work on many items in here go through an engine.

    Args:
        spec: ``"serial"``: this process. ``"processes"``, ``"processes:4"``: processes of this
            machine. ``"dask"``, ``"dask:4"``: a Dask cluster of this machine, whose dashboard is
            in the engine's text. ``"tcp://host:8786"``, or the scheduler's JSON file: a Dask
            scheduler that runs, here or on a cluster. Any
            :class:`concurrent.futures.Executor`, which stays open. An engine of one's own. None
            leaves things as they are.

    Raises:
        ValueError: If there is no such engine, or the scheduler does not answer.
        ModuleNotFoundError: If Dask is asked for and is not installed.
    """
    with _opened(spec) as engine:
        before = _chosen.set(engine if spec is not None else _chosen.get())
        try:
            yield engine
        finally:
            _chosen.reset(before)


def current_engine(num_workers: int | None = None) -> Engine:
    """Return the engine that :func:`using_engine` has put in charge, or else processes.

    Args:
        num_workers: Processes where they are of this machine and their number is not in the
            engine's name; None for one per core that this process may use; 0 or 1 for none.

    Raises:
        ValueError: If the number is negative.
    """
    if num_workers is not None and num_workers < 0:
        raise ValueError(f"the number of worker processes must not be negative, got {num_workers}")
    if is_inside_worker():
        return Serial()
    engine = _chosen.get()
    if engine is not None and engine != Processes():
        return engine
    workers = available_cores() if num_workers is None else num_workers
    return Serial() if workers <= 1 else Processes(workers)


def chosen_engine() -> Engine | None:
    """Return the engine that was put in charge by name; None where none was, or in a worker."""
    return None if is_inside_worker() else _chosen.get()


def check_spec(spec: str) -> None:
    """Refuse the name of an engine that cannot be.

    Raises:
        ValueError: If it is none.
    """
    name, colon, number = spec.partition(":")
    if name in ("tcp", "tls", "ucx", "ws", "wss") and number.startswith("//") and len(number) > 2:
        return
    if spec == "serial" or spec.endswith(".json"):
        return
    numbered = not colon or (number.isascii() and number.isdigit() and int(number) > 0)
    if name in ("processes", "dask") and numbered:
        return
    raise ValueError(f"unknown engine {spec!r}: {NAMES}")


def _opened(spec: str | Executor | Engine | None) -> AbstractContextManager[Engine]:
    if spec is None:
        return nullcontext(current_engine())
    if isinstance(spec, Executor):
        return nullcontext(OnExecutor(spec))
    if not isinstance(spec, str):
        return nullcontext(spec)
    check_spec(spec)
    name, _, number = spec.partition(":")
    if name == "serial":
        return nullcontext(Serial())
    if name == "processes":
        return nullcontext(Processes(int(number) if number else None))
    from pyg_crysdiff.engine.dask_cluster import existing, local  # noqa: PLC0415  (optional)

    return local(int(number) if number else None) if name == "dask" else existing(spec)
