"""What a worker does: it unpacks a function once, and applies it to the items of a message."""

from __future__ import annotations

import hashlib
import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from pyg_crysdiff.errors import first_line
from pyg_crysdiff.foreign_warnings import silence_foreign_warnings

_KEPT = 2  # functions that a worker keeps unpacked
_unpacked: dict[str, Callable[[Any], Any]] = {}
_at_work: ContextVar[bool] = ContextVar("at_work", default=False)


@dataclass(frozen=True)
class Raised:
    """An error of the work, which travels as a value.

    What a future raises by itself is then always of the engine: a killed worker, say.
    """

    error: Exception


@dataclass(frozen=True)
class Parcel:
    """A pickled function. Workers keep it, so that a large one need not come with every message.

    Attributes:
        digest: Of the content.
        home: Process that made it.
        data: The content; None where the worker is believed to have it.
    """

    digest: str
    home: int
    data: bytes | None

    @classmethod
    def of(cls, work: Callable[[Any], Any]) -> Parcel:
        """Pickle a function, also one of the main script."""
        import cloudpickle  # noqa: PLC0415  (most calls start no process)

        data = cloudpickle.dumps(work)
        return cls(hashlib.sha256(data).hexdigest(), os.getpid(), data)

    def name_only(self) -> Parcel:
        """Return the same without its content."""
        return replace(self, data=None)

    def open(self) -> Callable[[Any], Any] | None:
        """Return the function; None where the content is not here."""
        work = _unpacked.get(self.digest)
        if work is None and self.data is not None:
            work = pickle.loads(self.data)
            while len(_unpacked) >= _KEPT:
                _unpacked.pop(next(iter(_unpacked)), None)
            _unpacked[self.digest] = work
        return work


def run_chunk(parcel: Parcel, items: Sequence[Any]) -> list[Any] | None:
    """Apply the function of a parcel to items; None where the parcel's content is missing.

    Returns:
        Its results; :class:`Raised` where it raised.
    """
    if parcel.home != os.getpid():
        silence_foreign_warnings()  # as little as the command line says
    work = parcel.open()
    if work is None:
        return None
    with inside_worker():
        return [outcome(work, item) for item in items]


def outcome(work: Callable[[Any], Any], item: Any) -> Any:
    """Apply a function to an item; :class:`Raised` where it raises."""
    try:
        return work(item)
    except Exception as error:
        return Raised(_portable(error))


def _portable(error: Exception) -> Exception:
    """Return an error that survives the journey, with its traceback as a note."""
    lines = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {first_line(error)}")
    error.add_note(f"where it was raised:\n{lines}")
    error.__traceback__ = None  # it would keep the worker's frames alive
    return error


@contextmanager
def inside_worker() -> Iterator[None]:
    """Let work in here start no workers of its own; all cores are busy already."""
    before = _at_work.set(True)
    try:
        yield
    finally:
        _at_work.reset(before)


def is_inside_worker() -> bool:
    """Whether this is the work of a worker."""
    return _at_work.get()
