"""Code of others in processes that can be ended, with all that they have started."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_GUARD, _SERVER = (str(Path(__file__).with_name(name)) for name in ("guard.py", "server.py"))
_GRACE = 10.0  # seconds in which an ended process is gone


class TimeOverError(Exception):
    """It did not end in time, and was ended."""


class GoneError(Exception):
    """The process ended by itself, or was killed."""


def run_program(
    words: Sequence[str], folder: Path, timeout: float, out: IO[bytes], err: IO[bytes]
) -> int:
    """Run a program without a shell and return its exit status; 128 + N where signal N killed it.

    It is ended, with what it has started, after the timeout, on any error here, and where this
    process is killed.

    Args:
        words: Program and arguments.
        folder: Its working folder.
        timeout: Seconds.
        out: File for what it prints.
        err: File for its errors.

    Raises:
        TimeOverError: If it was ended.
    """
    command = [sys.executable, "-I", "-S", _GUARD, *words]
    with _started(command, cwd=folder, stdin=subprocess.PIPE, stdout=out, stderr=err) as process:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeOverError from None
        finally:
            _end(process)


class Server:
    """A function in a process of its own, which loads it once.

    Args:
        hello: What ``server.py`` is told first.
        timeout: Seconds in which the function must be loaded.

    Raises:
        ImportError: If it cannot be loaded.
    """

    def __init__(self, hello: Mapping[str, Any], timeout: float) -> None:
        self._process = _started(
            [sys.executable, "-P", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        try:
            found = self.ask(hello, timeout)
        except TimeOverError:
            raise ImportError(f"it was not loaded within {timeout:g} s") from None
        except GoneError as error:
            raise ImportError(f"as it was loaded {error}") from None
        if problem := found.get("problem"):
            self.end()
            raise ImportError(problem)

    def ask(self, question: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Send a question and return the answer.

        Raises:
            TimeOverError: If there was none in time; the process is ended then.
            GoneError: If the process has gone; the message says how.
        """
        assert self._process.stdin is not None  # a pipe
        try:
            with suppress(OSError):  # of one that has gone the end is read below
                self._process.stdin.write(json.dumps(question).encode() + b"\n")
                self._process.stdin.flush()
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.end()
            raise TimeOverError from None
        except BaseException:  # Ctrl-C: the next question must not get the answer to this one
            self.end()
            raise
        if not line:
            self.end()
            raise GoneError(how_it_ended(self._process.returncode))
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """End the process."""
        _end(self._process)
        self._listener.join(1.0)

    def _listen(self) -> None:
        assert self._process.stdout is not None  # a pipe
        with self._process.stdout as lines, suppress(OSError):
            for line in lines:
                self._lines.put(line)
        self._lines.put(b"")


def how_it_ended(code: int) -> str:
    """Say what an exit status means."""
    number = -code if code < 0 else code - 128
    if os.name == "posix" and 0 < number < signal.NSIG:
        memory = ", often for want of memory" if number == signal.SIGKILL else ""
        return f"its process was killed by signal {number}{memory}"
    return f"its process ended with exit status {code}"


def _started(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a program in a group of its own, which Ctrl-C does not reach."""
    if os.name == "posix":
        return subprocess.Popen(command, start_new_session=True, **options)
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    return subprocess.Popen(command, creationflags=flags, **options)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program, and what it has started; nothing where it has ended by itself."""
    if process.poll() is None and os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        words = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(words, capture_output=True, check=False)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
