"""Engines of this machine: the results of a loop, whatever happens to the workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from pyg_crysdiff.engine import (
    Failed,
    OnExecutor,
    Processes,
    Serial,
    WorkerKilledError,
    chosen_engine,
    current_engine,
    parallel_map,
    using_engine,
)

MAP = {"serial_below": 2, "chunksize": 3, "progress": False}


class Inline(Executor):
    """An executor with nothing but what the interface asks for."""

    def submit(self, work, /, *args, **kwargs):
        future = Future()
        future.set_result(work(*args, **kwargs))
        return future


def cube(x: int) -> int:
    return x**3


def fail_from_20(x: int) -> int:
    if x >= 20:
        raise ArithmeticError(f"bad {x}")
    return x


def flaky(folder: str, x: int) -> int:
    """Raise the first time it sees an odd number."""
    if x % 2 and not (seen := Path(folder, str(x))).exists():
        seen.touch()
        raise OSError("the file system hiccups")
    return x


def die_once(folder: str, x: int) -> int:
    """Die the first time it sees one of two numbers."""
    if x in (13, 21) and not (seen := Path(folder, str(x))).exists():
        seen.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x**3


def die_at_13(x: int) -> int:
    if x == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return x**3


def engine_inside(x: int) -> str:
    inner = parallel_map(cube, range(300), num_workers=2, progress=False)
    return f"{type(current_engine(4)).__name__} {chosen_engine()} {sum(inner) + x}"


ENGINES = pytest.mark.parametrize(
    "spec",
    ["serial", "processes:2", ThreadPoolExecutor(2), Inline()],
    ids=["serial", "processes", "threads", "any executor"],
)


@ENGINES
def test_the_results_are_those_of_a_loop(spec):
    with using_engine(spec) as engine:
        assert current_engine(7) is engine
        assert chosen_engine() is engine
        assert parallel_map(cube, range(50), **MAP) == [x**3 for x in range(50)]
        found = list(engine.run(cube, (x for x in range(50)), chunksize=4))
        assert sorted(found) == [(x, x**3) for x in range(50)]
        with pytest.raises(ArithmeticError, match="bad 20"):
            parallel_map(fail_from_20, range(50), **MAP)
        found = dict(engine.run(fail_from_20, range(25), chunksize=4))
        assert [found[x] for x in range(20)] == list(range(20))
        assert found[23] == Failed("bad 23")
        assert str(engine)
    assert chosen_engine() is None


@ENGINES
def test_what_raises_once_is_tried_again(spec, tmp_path):
    with using_engine(spec) as engine:
        found = dict(engine.run(partial(flaky, str(tmp_path)), range(10), chunksize=3))
    assert found == {x: x for x in range(10)}


def test_killed_workers_change_no_result(tmp_path):
    work = partial(die_once, str(tmp_path))
    with using_engine("processes:2") as engine:
        found = dict(engine.run(work, range(40), chunksize=4))
    assert found == {x: x**3 for x in range(40)}
    assert {p.name for p in tmp_path.iterdir()} == {"13", "21"}


def test_a_poisoned_item_is_set_aside_and_no_other():
    with using_engine("processes:2") as engine:
        found = dict(engine.run(die_at_13, range(40), chunksize=4))
    assert {k: v for k, v in found.items() if k != 13} == {x: x**3 for x in range(40) if x != 13}
    assert isinstance(found[13].error, WorkerKilledError)
    assert "killed its worker 3 times" in found[13].reason


@pytest.mark.skipif(sys.platform != "linux", reason="starts processes the quick way")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads
def test_a_broken_pool_of_the_standard_library_is_named():
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool, using_engine(pool):
        assert parallel_map(cube, range(50), **MAP) == [x**3 for x in range(50)]
        with pytest.raises(WorkerKilledError, match="given ProcessPoolExecutor was killed"):
            parallel_map(die_at_13, range(50), **MAP)


def test_work_of_a_worker_starts_no_workers():
    expected = [f"Serial None {sum(x**3 for x in range(300)) + x}" for x in range(4)]
    for spec in ("processes:2", ThreadPoolExecutor(2)):
        with using_engine(spec):
            assert parallel_map(engine_inside, range(4), **MAP) == expected


def test_the_number_of_processes():
    assert current_engine(3) == Processes(3)
    assert current_engine(1) == current_engine(0) == Serial()
    with using_engine("processes"):
        assert current_engine(3) == Processes(3)
        assert current_engine(0) == Serial()
    with using_engine("processes:4"):
        assert current_engine(3) == Processes(4)
    with using_engine(None):
        assert current_engine(3) == Processes(3)
        assert chosen_engine() is None
    own = OnExecutor(Inline())
    with using_engine(own) as engine:
        assert engine is own


@pytest.mark.parametrize("spec", ["threads", "processes:0", "processes:x", "tcp:", "dask:-1", ""])
def test_an_unknown_engine_is_refused(spec):
    with pytest.raises(ValueError, match="unknown engine"), using_engine(spec):
        pass


def test_dask_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r"pyg_crysdiff\[dask\]"), using_engine("dask"):
        pass
