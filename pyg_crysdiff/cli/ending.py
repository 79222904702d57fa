"""How commands end: one line and an exit status for what is not an error of this package."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

_AGAIN = 1.0  # seconds
_GOES_ON = "the same command goes on from what is on disk"
# What users, their files and their machine bring about.
_EXPECTED: tuple[type[Exception], ...] = (
    ValueError, OSError, ModuleNotFoundError, MemoryError, RecursionError, EOFError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Parser(argparse.ArgumentParser):
    """A parser that takes all negative numbers for values, and refuses in one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # argparse knows -1 and -.5, takes -1e-3 and -inf for options, and has no setting for it.
        self._negative_number_matcher = re.compile(
            r"-((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf|nan)$", re.I
        )

    def shorten_usage(self) -> None:
        """Let the usage line name only what must be given; the groups below it list the rest.

        A command that has a usage line of its own keeps it.
        """
        if self.usage is not None:
            return
        words = []
        for action in self._actions:
            name = str(action.metavar or action.dest.upper())
            if not action.option_strings:
                name += f" [{name} ...]" if action.nargs == "+" else ""
                words.append(f"[{name}]" if action.nargs in ("?", "*") else name)
            elif action.required:
                words.append(f"{action.option_strings[-1]} {name}")
        self.usage = " ".join([self.prog, *words, "[options]"])

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


class _Terminated(BaseException):
    """The system asks this process to end."""


@contextmanager
def ending(debug: bool, also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what a command raises into one line on the screen and the process's exit status.

    Errors of the user's making end with 2, Ctrl-C with 130, SIGTERM with 143.

    Args:
        debug: Let errors through, with their traceback.
        also: Further exceptions that count as errors of the user's making.
    """
    expected: tuple[type[Exception], ...] = (*_EXPECTED, *also)
    try:
        with _stoppable():
            yield
            _flush()
    except KeyboardInterrupt:
        _exit(130, f"\ninterrupted; {_GOES_ON}")
    except _Terminated:
        _exit(143, f"\nterminated; {_GOES_ON}")
    except expected as error:
        if debug:
            raise
        _exit(2, f"error: {_in_one_line(error)}")
    except SystemExit:
        _flush()
        raise


def say(text: str) -> None:
    """Print a line; where nobody reads any more (``| head``), the work goes on in silence."""
    with _unread():
        print(text, flush=True)


def _flush() -> None:
    with _unread():
        sys.stdout.flush()


@contextmanager
def _unread() -> Iterator[None]:
    """Write to nowhere from now on, where the reader of the output has gone."""
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process, with its workers.

    A library may swallow what the signal raises, in a bare ``except`` around an import that it can
    do without. So it is raised again and again, but not while it is on its way out.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    stop: list[type[BaseException]] = []

    def end(number: int, _: object) -> NoReturn:
        stop[:] = [KeyboardInterrupt if number == signal.SIGINT else _Terminated]
        _wake(_AGAIN)
        raise stop[0]

    def again(*_: object) -> None:
        _wake(_AGAIN)
        if stop and not _on_its_way(sys.exc_info()[1]):
            raise stop[0]

    handlers: dict[int, Any] = {signal.SIGINT: end, signal.SIGTERM: end}
    if hasattr(signal, "SIGALRM"):
        handlers[signal.SIGALRM] = again
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        _wake(0)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _wake(seconds: float) -> None:
    """Ask for a SIGALRM, where the system has one."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _on_its_way(error: BaseException | None) -> bool:
    """Whether the end is what is being handled, as in a ``finally`` that tidies up."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt | _Terminated):
            return True
        error = error.__context__
    return False


def _exit(status: int, line: str) -> NoReturn:
    _flush()
    print(line, file=sys.stderr)
    raise SystemExit(status)


def _in_one_line(error: BaseException) -> str:
    """Say what an exception says, without line ends and numbers of the system."""
    if isinstance(error, MemoryError):
        return ": ".join(["not enough memory", *filter(None, [str(error)])])
    if isinstance(error, RecursionError):
        return f"the input is nested too deeply ({error})"
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines) or type(error).__name__
