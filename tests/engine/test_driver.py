"""What is tried again and what is set aside, with workers that die when the test wants it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import pytest

from pyg_crysdiff.engine import Failed, Patience, WorkerKilledError
from pyg_crysdiff.engine import driver as driving
from pyg_crysdiff.engine.chunks import Parcel, run_chunk
from pyg_crysdiff.engine.driver import Driver


class LostError(Exception):
    """A killed worker of an engine that loses nothing else with it."""


class FakePool:
    """Runs what is under way when a result is asked for; ``dies`` says which messages kill.

    Args:
        dies: From all messages under way to those items that kill a worker now.
        together: All messages under way are lost with it.
    """

    def __init__(self, dies: Callable[[list[list[Any]]], set[Any]], together: bool = True) -> None:
        self.window, self.dies, self.together = 4, dies, together
        self.under_way: list[tuple[Future[Any], Any, list[Any]]] = []
        self.renewed: list[bool] = []
        self.bytes_sent: list[int] = []
        self.broken = self.stopped = False
        self.run: Callable[..., Any] = run_chunk

    def submit(self, parcel: Any, items: list[Any]) -> Future[Any]:
        if self.broken:
            raise BrokenProcessPool("broken")
        self.bytes_sent.append(len(parcel.data or b""))
        future = _Lazy(self)
        self.under_way.append((future, parcel, items))
        return future

    def share(self, parcel: Parcel) -> None:
        return None

    def renew(self, fewer: bool) -> None:
        self.renewed.append(fewer)
        self.broken = False
        if fewer:
            self.window = max(1, self.window // 2)

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        """Let the messages under way come to their end."""
        now, self.under_way = self.under_way, []
        killers = self.dies([items for _, _, items in now])
        for future, parcel, items in now:
            if self.together and killers:
                self.broken = True
                future.set_exception(BrokenProcessPool("killed"))
            elif killers & set(items):
                future.set_exception(LostError("killed"))
            else:
                future.set_result(self.run(parcel, items))


class _Lazy(Future[Any]):
    def __init__(self, pool: FakePool) -> None:
        super().__init__()
        self.pool = pool


@pytest.fixture(autouse=True)
def _goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the driver waits, the pool works."""
    wait = Driver._completed

    def completed(self: Driver) -> Any:
        if self._done.empty():
            self.pool.go_on()  # type: ignore[attr-defined]
        return wait(self)

    monkeypatch.setattr(Driver, "_completed", completed)


def triple(x: int) -> int:
    if x == 77:
        raise ArithmeticError("no 77")
    return 3 * x


def driven(pool: FakePool, items: Any = range(40), chunksize: int = 3, **patience: Any) -> Any:
    told: list[None] = []
    found = dict(
        Driver(
            pool, triple, items, chunksize, Patience(**patience), lambda: told.append(None)
        ).results()
    )
    assert len(told) == len(found)
    return found


@pytest.mark.parametrize("together", [True, False])
def test_only_the_poisoned_items_are_set_aside(together: bool) -> None:
    poison = {5, 6, 31}

    def dies(under_way: list[list[int]]) -> set[int]:
        return poison & {item for items in under_way for item in items}

    pool = FakePool(dies, together)
    found = driven(pool)
    assert {k for k, v in found.items() if isinstance(v, Failed)} == poison
    assert all(found[k] == 3 * k for k in range(40) if k not in poison)
    assert sorted(found) == list(range(40))
    assert not any(pool.renewed)  # memory was not to blame
    kind = WorkerKilledError if together else LostError
    assert isinstance(found[5].error, kind)
    assert "3 times" in found[5].reason


def test_with_too_little_memory_fewer_work_at_once() -> None:
    """Nobody is to blame where a message alone goes well."""
    most = []

    def dies(under_way: list[list[int]]) -> set[int]:
        most.append(len(under_way))
        return {item for items in under_way for item in items} if len(under_way) > 2 else set()

    pool = FakePool(dies)
    assert driven(pool) == {k: 3 * k for k in range(40)}
    assert pool.window == 2
    assert max(most[-5:]) <= 2


def test_a_pool_that_breaks_between_two_messages_costs_no_item_a_try() -> None:
    pool = FakePool(lambda under_way: set())
    pool.broken = True
    assert driven(pool, killing=1) == {k: 3 * k for k in range(40)}


def test_what_raises_is_tried_once_more() -> None:
    found = driven(FakePool(lambda under_way: set()), range(70, 80))
    assert found[7].reason == "no 77"
    assert isinstance(found[7].error, ArithmeticError)
    assert "where it was raised" in found[7].error.__notes__[0]
    assert [v for k, v in sorted(found.items()) if k != 7] == [
        3 * x for x in range(70, 80) if x != 77
    ]


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Any:
        for k in range(100):
            taken.append(k)
            yield k

    pool = FakePool(lambda under_way: set())
    results = Driver(pool, triple, items(), 2, Patience(), lambda: None).results()
    next(results)
    assert len(taken) == 2 * pool.window


def test_a_large_function_does_not_come_with_every_message() -> None:
    pool = FakePool(lambda under_way: set())
    large = partial(_add_length, bytes(1 << 16))
    found = dict(Driver(pool, large, range(100), 1, Patience(), lambda: None).results())
    assert found == {k: k + (1 << 16) for k in range(100)}
    assert sum(size > 0 for size in pool.bytes_sent) < 20


def test_a_worker_that_lacks_the_function_gets_it() -> None:
    forgetful: list[int] = []

    def run(parcel: Parcel, items: list[int]) -> Any:
        if parcel.data is None:
            forgetful.append(len(items))
            return None
        return run_chunk(parcel, items)

    pool = FakePool(lambda under_way: set())
    pool.run = run
    large = partial(_add_length, bytes(1 << 16))
    found = dict(Driver(pool, large, range(100), 1, Patience(), lambda: None).results())
    assert found == {k: k + (1 << 16) for k in range(100)}
    assert 0 < len(forgetful) < 50  # where none keeps it, it comes with every message again


def _add_length(data: bytes, x: int) -> int:
    return len(data) + x


def test_what_cannot_be_sent_is_an_error_at_once() -> None:
    pool = FakePool(lambda under_way: set())

    def refuse(parcel: Any, items: Any) -> Any:
        raise TypeError("cannot pickle a lock")

    pool.submit = refuse  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="lock"):
        driven(pool)


def test_a_scheduler_that_goes_is_named() -> None:
    pool = FakePool(lambda under_way: set())

    def gone(parcel: Any, items: Any) -> Any:
        future: Future[Any] = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future

    pool.submit = gone  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match="has gone"):
        driven(pool)


def test_an_interrupt_stops_the_pool_and_an_error_of_the_caller_does_not() -> None:
    for error, stopped in ((KeyboardInterrupt, True), (ValueError, False)):
        pool = FakePool(lambda under_way: set())
        results = Driver(pool, triple, range(40), 1, Patience(), lambda: None).results()
        next(results)
        with pytest.raises(error):
            results.throw(error())
        assert pool.stopped is stopped


def test_an_interrupt_cancels_nothing_before_the_pool_has_stopped() -> None:
    """The loky of joblib 1.3 fails at a message that is cancelled, and leaves its workers alive."""
    sent: list[Future[Any]] = []

    class Waiting(FakePool):
        def submit(self, parcel: Any, items: list[Any]) -> Future[Any]:
            sent.append(Future())
            if len(sent) == 1:
                sent[0].set_result(run_chunk(parcel, items))
            return sent[-1]

        def stop(self) -> None:
            assert not any(future.cancelled() for future in sent)
            self.stopped = True

    pool = Waiting(lambda under_way: set())
    results = Driver(pool, triple, range(40), 1, Patience(), lambda: None).results()
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt())
    assert pool.stopped
    assert all(future.cancelled() for future in sent[1:])


def test_the_module_waits_no_longer_than_a_person() -> None:
    assert driving._PAUSE <= 1
