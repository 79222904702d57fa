"""Work in processes: from any kind of script, with workers that are killed, with Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from pyg_crysdiff.engine import Patience, driver
from pyg_crysdiff.parallel import WorkerKilledError, parallel_map

SCRIPT = """
from pyg_crysdiff.parallel import parallel_map
print("script")
def triple(x):
    return 3 * x
found = parallel_map(triple, range(40), num_workers=2, serial_below=2, chunksize=4, progress=False)
print(found == [3 * x for x in range(40)])
"""


@pytest.mark.parametrize("way", ["file", "standard input", "-c"])
def test_a_script_needs_no_main_guard(way, tmp_path):
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    words = {"file": [str(file)], "standard input": ["-"], "-c": ["-c", SCRIPT]}[way]
    done = subprocess.run(
        [sys.executable, *words], input=SCRIPT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["script", "True"], done.stderr


def _die_once(item: tuple[int, str]) -> int:
    number, flag = item
    if number == 13 and Path(flag).exists():
        Path(flag).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _die(number: int) -> int:
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _fail(number: int) -> int:
    if number == 13:
        raise ArithmeticError(f"bad {number}")
    return number


OPTIONS = {"num_workers": 2, "serial_below": 2, "chunksize": 4, "progress": False}


def test_a_killed_worker_is_replaced_or_named(tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    items = [(k, str(flag)) for k in range(40)]
    assert parallel_map(_die_once, items, **OPTIONS) == list(range(40))
    assert not flag.exists()
    with pytest.raises(WorkerKilledError, match="too little memory"):
        parallel_map(_die, list(range(40)), **OPTIONS)


def test_a_process_that_ends_as_work_comes_is_no_error(monkeypatch):
    """Loky warns of it in a thread of its own, which an error would end."""

    class Worried(driver.Driver):
        def results(self):
            warnings.warn(
                "A worker stopped while some jobs were given to the executor", stacklevel=1
            )
            yield from enumerate(map(self.work, self.items))

    monkeypatch.setattr(driver, "Driver", Worried)
    warnings.simplefilter("error")
    assert parallel_map(abs, [-1, -2], num_workers=2, serial_below=0, progress=False) == [1, 2]
    with pytest.raises(UserWarning, match="A worker stopped"):
        list(Worried(None, abs, [1], 2, Patience(), print).results())


def test_errors_of_the_work_come_through_and_workers_go_on():
    with pytest.raises(ArithmeticError, match="bad 13"):
        parallel_map(_fail, list(range(40)), **OPTIONS)
    assert parallel_map(abs, [-k for k in range(40)], **OPTIONS) == list(range(40))
    with pytest.raises(ValueError, match="-3"):
        parallel_map(abs, [1], num_workers=-3)


SLOW = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest runs behind &
from pyg_crysdiff.parallel import parallel_map
def slow(x):
    os.write(1, b"at work\\n")  # in one piece, since two workers write
    time.sleep(60)
parallel_map(slow, range(40), num_workers=2, serial_below=2, chunksize=1, progress=False)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(signum):
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        assert parent.stdout.readline().strip() == "at work"
        if signum == signal.SIGINT:  # a terminal sends it to all processes
            os.killpg(parent.pid, signum)
        else:
            os.kill(parent.pid, signum)
        _, said = parent.communicate(timeout=60)  # ends when the last process closed the pipe
    assert said.count("Traceback") <= 1
    until = time.monotonic() + 10
    while (left := _in_session(parent.pid)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left


def _in_session(session: int) -> list[str]:
    """Return the living processes of a session."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[3] == str(session) and fields[0] != "Z":
            found.append(file.parent.name)
    return found
