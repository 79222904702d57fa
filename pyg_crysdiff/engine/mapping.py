"""Work on all cores, in order, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, cast

from pyg_crysdiff.engine.base import Failed, In, Out, Patience, WorkerKilledError
from pyg_crysdiff.engine.current import current_engine
from pyg_crysdiff.engine.local import Serial
from pyg_crysdiff.progress import bar

_NONE = object()


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

    The workers are those of :func:`pyg_crysdiff.engine.current_engine`.

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
        WorkerKilledError: If an item killed its worker again and again.
    """
    engine = current_engine(num_workers)
    with bar(label=label, total=len(items), show=progress) as shown:
        if isinstance(engine, Serial) or len(items) < serial_below:
            results = []
            for item in items:
                results.append(work(item))
                shown.update()
            return results
        found = engine.run(
            work, items, chunksize=chunksize, patience=Patience(raising=1, at_once=True)
        )
        return _in_order(cast(Generator[Any], found), len(items), label, shown.update)


def _in_order(
    found: Generator[tuple[int, Any]], total: int, label: str, update: Callable[[], object]
) -> list[Any]:
    """Return results in order; the error of the first item that failed is raised, as in a loop."""
    results: list[Any] = [_NONE] * total
    next_one = 0
    for index, result in found:
        results[index] = result
        update()
        while next_one < total and results[next_one] is not _NONE:
            if isinstance(results[next_one], Failed):
                _raise(found, results[next_one].error, label, next_one, total)
            next_one += 1
    return results


def _raise(found: Generator[Any], error: Exception, label: str, index: int, total: int) -> None:
    """Raise an error where the engine stands: it ends what is under way, and keeps the workers."""
    if isinstance(error, WorkerKilledError):
        work = f" ({label})" if label else ""
        error = WorkerKilledError(
            f"a worker process was killed{work} at item {index + 1} of {total}, and again when it "
            "was the only one; the usual reason is too little memory: free some, or take smaller "
            "files"
        )
    found.throw(error)
