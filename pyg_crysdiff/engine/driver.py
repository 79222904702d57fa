"""From items to results: what is at work, what is tried again, what is set aside."""

from __future__ import annotations

import pickle
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from pyg_crysdiff.engine.base import USUAL, Failed, In, Out, Patience, WorkerKilledError, shown_bar
from pyg_crysdiff.engine.chunks import Parcel, Raised
from pyg_crysdiff.errors import first_line

_SMALL = 1 << 14  # bytes of a function that may as well come with every message
_PAUSE = 1.0  # seconds; Windows hears Ctrl-C only between two waits
# Errors of the work come as values. These tell that something cannot be sent or unpacked.
_UNSENDABLE = (pickle.PicklingError, ImportError, AttributeError, TypeError)


class Pool(Protocol):
    """Workers behind :class:`concurrent.futures.Future`."""

    @property
    def window(self) -> int:
        """Number of messages that may be under way."""
        ...

    def submit(self, parcel: Any, items: list[Any]) -> Future[Any]:
        """Send a message for :func:`pyg_crysdiff.engine.chunks.run_chunk`."""
        ...

    def share(self, parcel: Parcel) -> Any | None:
        """Bring a parcel to all workers; return what stands for it, None where that is not done."""
        ...

    def renew(self, fewer: bool) -> None:
        """Have workers again after all were lost; half as many if ``fewer``."""
        ...

    def stop(self) -> None:
        """End what is under way, as the caller was interrupted."""
        ...


class Pooled:
    """An engine with workers behind a :class:`Pool`."""

    def _open(self) -> AbstractContextManager[Pool]:
        """Return the workers for one piece of work."""
        raise NotImplementedError

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
        """See :class:`pyg_crysdiff.engine.Engine`."""
        with shown_bar(items, label, progress) as shown, self._open() as pool:
            yield from Driver(pool, work, items, chunksize, patience, shown.update).results()


@dataclass
class _Chunk:
    first: int
    items: list[Any]
    raised: int = 0
    killed: int = 0

    def singles(self) -> Iterator[_Chunk]:
        """Yield its items one by one."""
        for offset, item in enumerate(self.items):
            yield replace(self, first=self.first + offset, items=[item])


@dataclass
class Driver:
    """Brings items to workers and their results back, as they complete.

    Where a worker is killed, the items that were under way are tried again one by one, and those
    with which another one was killed each alone. Only an item that kills a worker with nothing
    else at work is set aside, so that none is blamed for its neighbour.

    Args:
        pool: The workers.
        work: The function.
        items: Its arguments.
        chunksize: Items per message.
        patience: How often an item is tried.
        tell: Called for every result.
    """

    pool: Pool
    work: Callable[[Any], Any]
    items: Iterable[Any]
    chunksize: int
    patience: Patience
    tell: Callable[[], object]
    _running: dict[Future[Any], _Chunk] = field(default_factory=dict)
    _again: deque[_Chunk] = field(default_factory=deque)
    _suspects: deque[_Chunk] = field(default_factory=deque)
    _alone: Future[Any] | None = None  # of a suspect
    _broken: bool = False  # all workers are lost
    _prompt: bool = False  # suspects come before all else
    _innocent: bool = False  # a suspect was none
    _guilty: bool = False  # a suspect was one
    _riddles: int = 0  # times in a row that of all suspects none was one
    _sent: int = 0
    _missed: int = 0

    def __post_init__(self) -> None:
        self._prompt = self.patience.at_once
        self._fresh = _chunks(self.items, self.chunksize)
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._parcel = Parcel.of(self.work)
        large = self._parcel.data is not None and len(self._parcel.data) > _SMALL
        self._shared = self.pool.share(self._parcel) if large else self._parcel

    def results(self) -> Iterator[tuple[int, Any]]:
        """Yield place and result of every item."""
        try:
            while self._fill():
                for future in self._completed():
                    for found in self._take(future):
                        self.tell()
                        yield found
        except Exception:
            self._cancel()
            raise
        except BaseException:  # Ctrl-C and its like
            # In this order: with joblib 1.3 a message that is cancelled keeps the workers alive.
            self.pool.stop()
            self._cancel()
            raise

    def _cancel(self) -> None:
        for future in self._running:
            future.cancel()

    def _fill(self) -> bool:
        """Send what may be under way; say whether there is anything."""
        if not self._running:
            self._renew()
        if self._alone is None and not (self._prompt and self._suspects):
            while not self._broken and len(self._running) < self.pool.window:
                chunk = self._again.popleft() if self._again else next(self._fresh, None)
                if chunk is None:
                    break
                self._send(chunk)
        if self._suspects and not self._running and not self._broken:
            self._alone = self._send(self._suspects.popleft())
        return bool(self._running) or self._broken

    def _renew(self) -> None:
        """Have workers again where all were lost, fewer where no item was to blame for that."""
        if not self._suspects and (self._innocent or self._guilty):
            self._riddles = 0 if self._guilty else self._riddles + 1
            self._innocent = self._guilty = False
        fewer = self._riddles > 1
        if self._broken or fewer:
            self.pool.renew(fewer)
            self._riddles = 0 if fewer else self._riddles
        self._broken = False

    def _send(self, chunk: _Chunk, whole: bool = False) -> Future[Any] | None:
        parcel = self._shared
        if parcel is None:  # workers that have it need only its name
            most_have = self._sent > 2 * self.pool.window and 4 * self._missed < self._sent
            parcel = self._parcel.name_only() if most_have and not whole else self._parcel
        try:
            future = self.pool.submit(parcel, chunk.items)
        except BrokenExecutor:
            self._broken = True
            self._again.appendleft(chunk)
            return None
        self._sent += 1
        self._running[future] = chunk
        future.add_done_callback(self._done.put)
        return future

    def _completed(self) -> Iterator[Future[Any]]:
        """Yield what has completed; waits for the first."""
        while self._running:
            try:
                yield self._done.get(timeout=_PAUSE)
            except queue.Empty:
                continue
            break
        while not self._done.empty():
            yield self._done.get()

    def _take(self, future: Future[Any]) -> Iterator[tuple[int, Any]]:
        """Yield the results of a message, but for items that are tried again."""
        chunk = self._running.pop(future)
        alone = future is self._alone
        if alone:
            self._alone = None
        try:
            found = future.result()
        except CancelledError as error:
            raise ConnectionError(
                "the work under way was cancelled: the scheduler or the executor has gone"
            ) from error
        except _UNSENDABLE:
            raise
        except Exception as error:
            yield from self._lost(chunk, error, alone)
            return
        if found is None:  # it did not have the function
            self._missed += 1
            again = self._send(chunk, whole=True)
            self._alone = again if alone else self._alone
            return
        self._innocent = self._innocent or alone
        for single, result in zip(chunk.singles(), found, strict=True):
            if not isinstance(result, Raised):
                yield single.first, result
            elif single.raised + 1 < self.patience.raising:
                self._again.append(replace(single, raised=single.raised + 1))
            else:
                yield single.first, Failed(first_line(result.error), result.error)

    def _lost(self, chunk: _Chunk, error: Exception, alone: bool) -> Iterator[tuple[int, Failed]]:
        """Put the items of a lost worker back; yield the one that is to blame."""
        if isinstance(error, BrokenExecutor):
            self._broken = self._prompt = True
        killed = chunk.killed + 1 + int(getattr(error, "allowed_failures", 0))
        if alone and killed >= self.patience.killing:
            self._guilty = True
            yield chunk.first, _verdict(killed, error)
            return
        company = len(chunk.items) > 1 or killed + 1 < self.patience.killing
        (self._again if company else self._suspects).extend(replace(chunk, killed=killed).singles())


def _verdict(killed: int, error: Exception) -> Failed:
    """Return what stands for an item that killed its worker again and again."""
    if not isinstance(error, BrokenExecutor) and type(error).__name__ != "KilledWorker":
        return Failed(f"tried {killed} times: {first_line(error)}", error)
    reason = f"killed its worker {killed} times; the usual reason is too little memory"
    found = WorkerKilledError(reason)
    found.__cause__ = error
    return Failed(reason, found)


def _chunks(items: Iterable[Any], size: int) -> Iterator[_Chunk]:
    """Cut items into messages, as they are needed."""
    rest, first = iter(items), 0
    while some := list(islice(rest, size)):
        yield _Chunk(first, some)
        first += len(some)
