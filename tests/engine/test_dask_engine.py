"""Dask: a cluster of this machine, and a scheduler that somebody has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pyg_crysdiff.engine import Failed, WorkerKilledError, chosen_engine, parallel_map, using_engine

pytest.importorskip("distributed")
MAP = {"serial_below": 2, "chunksize": 3, "progress": False}


def cube(x: int) -> int:
    return x**3


def slow_cube(folder: str, x: int) -> int:
    """Leave the number of the process, so that the test can kill it."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(0.05)
    return x**3


def die_at_13(x: int) -> int:
    if x == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return x**3


def fail_from_20(x: int) -> int:
    if x >= 20:
        raise ArithmeticError(f"bad {x}")
    return x


def add_length(data: bytes, x: int) -> int:
    return len(data) + x


def killed_in_the_middle(engine, folder: Path) -> dict[int, int | Failed]:
    """Return the results of a piece of work of which a worker is killed."""
    found, victims = {}, []
    for index, result in engine.run(partial(slow_cube, str(folder)), range(60), chunksize=2):
        found[index] = result
        if len(found) == 10:
            victims = [int(path.name) for path in folder.iterdir()]
            os.kill(victims[0], signal.SIGKILL)
    assert victims
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    with using_engine("dask:2") as engine:
        yield engine


def test_the_results_are_those_of_a_loop(cluster):
    assert chosen_engine() is cluster
    with using_engine(cluster):
        assert parallel_map(cube, range(50), **MAP) == [x**3 for x in range(50)]
        with pytest.raises(ArithmeticError, match="bad 20"):
            parallel_map(fail_from_20, range(50), **MAP)
    assert dict(cluster.run(fail_from_20, range(25), chunksize=4))[23] == Failed("bad 23")
    large = partial(add_length, bytes(1 << 20))
    assert dict(cluster.run(large, range(30))) == {x: x + (1 << 20) for x in range(30)}
    assert "2 workers" in str(cluster)
    assert "http://127.0.0.1" in str(cluster)


def test_a_worker_that_is_killed_changes_no_result(cluster, tmp_path):
    assert killed_in_the_middle(cluster, tmp_path) == {x: x**3 for x in range(60)}


def test_a_poisoned_item_is_set_aside_and_no_other(cluster):
    found = dict(cluster.run(die_at_13, range(40), chunksize=4))
    assert {k: v for k, v in found.items() if k != 13} == {x: x**3 for x in range(40) if x != 13}
    assert isinstance(found[13].error, WorkerKilledError)


@pytest.mark.parametrize("how", ["address", "file"])
def test_a_scheduler_that_does_not_answer_is_named(how, tmp_path, monkeypatch):
    monkeypatch.setattr("pyg_crysdiff.engine.dask_cluster._ANSWER", 0.3)
    where = {"address": "tcp://127.0.0.1:9", "file": str(tmp_path / "none.json")}[how]
    with pytest.raises(ValueError, match="scheduler"), using_engine(where):
        pass


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[Path]:
    """Scheduler file of a scheduler with two workers, as people start them."""
    file = tmp_path / "scheduler.json"
    commands = (
        ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
        ["worker", "--nworkers", "2", "--nthreads", "1", "--no-dashboard"],
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{words[0]}", *words[1:],
             "--scheduler-file", str(file)],
            stderr=subprocess.DEVNULL, env=env, start_new_session=True, cwd=tmp_path,
        )
        for words in commands
    ]  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not file.is_file() and time.monotonic() < until:
            time.sleep(0.1)
        yield file
    finally:
        for process in reversed(started):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="ends the processes of a session")
def test_a_scheduler_started_by_hand(by_hand, tmp_path):
    folder = tmp_path / "pids"
    folder.mkdir()
    with using_engine(str(by_hand)) as engine:
        address = engine.client.scheduler.address
        with using_engine(address):
            assert parallel_map(cube, range(50), **MAP) == [x**3 for x in range(50)]
        assert killed_in_the_middle(engine, folder) == {x: x**3 for x in range(60)}


SLOW = """
import time
from pyg_crysdiff.engine import parallel_map, using_engine
def slow(x):
    print("at work", flush=True)
    time.sleep(60)
with using_engine("dask:2"):
    parallel_map(slow, range(40), serial_below=2, chunksize=1, progress=False)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="sends signals to a session")
def test_an_interrupt_ends_script_and_workers():
    """The script comes by standard input, which workers that run it anew could not read."""
    with subprocess.Popen(
        [sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(SLOW)
        parent.stdin.close()
        parent.stdin = None
        assert parent.stdout.readline().strip() == "at work"
        os.killpg(parent.pid, signal.SIGINT)
        _, said = parent.communicate(timeout=20)  # ends when the last process closed the pipe
    assert said.rstrip().endswith("KeyboardInterrupt")
