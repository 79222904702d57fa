"""What an engine is, and what stands for an item that it gave up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from pyg_crysdiff.progress import bar

In = TypeVar("In")
Out = TypeVar("Out")


class WorkerKilledError(MemoryError):
    """A worker process was killed from outside, usually by the system for want of memory."""


@dataclass(frozen=True)
class Failed:
    """Stands for an item that was set aside: it raised, or killed its worker, again and again.

    Attributes:
        reason: Why, in one line.
        error: The error of the work, or :class:`WorkerKilledError`.
    """

    reason: str
    error: Exception = field(default_factory=Exception, compare=False, repr=False)


@dataclass(frozen=True)
class Patience:
    """How often an item is tried before it is set aside.

    Attributes:
        raising: Times that its work may raise.
        killing: Workers that may be killed with it, the last while nothing else is at work.
        at_once: Try what is suspected before all else, not after it.
    """

    raising: int = 2
    killing: int = 3
    at_once: bool = False


USUAL = Patience()


class Engine(Protocol):
    """Carries out one function on many items, here or elsewhere."""

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
        """Yield the place of every item and its result, as they complete.

        The work of a lost worker is done again by another one. The results are those of one
        process; only their order differs.

        Args:
            work: A function that can be pickled. It must give the same for the same item.
            items: Its arguments; taken as they are needed, so that a generator may bring them.
            label: Text of the progress bar.
            progress: Show a progress bar.
            chunksize: Items per message to a worker.
            patience: How often an item is tried before :class:`Failed` stands for it.

        Raises:
            WorkerKilledError: If there are no workers any more.
            ConnectionError: If the scheduler or executor has gone.
        """
        ...


def shown_bar(items: Iterable[Any], label: str, show: bool) -> tqdm[Any]:
    """Return the progress bar of a piece of work; a generator does not tell its end."""
    return bar(label=label, total=len(items) if isinstance(items, Sized) else None, show=show)
