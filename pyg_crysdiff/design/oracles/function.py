"""A function of the user's, each crystal by itself in a process that can be ended."""

from __future__ import annotations

import base64
import functools
import importlib.util
import inspect
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.design.oracles.answering import answer_of, some_names, usable
from pyg_crysdiff.design.oracles.processes import GoneError, Server, TimeOverError
from pyg_crysdiff.design.oracles.running import in_turn
from pyg_crysdiff.storage import digest_of, facts_digest, file_digest, user_path

_LOADING = 600.0  # seconds; a function may load a network
_idle: dict[str, list[Server]] = {}  # of this process, by what they have loaded


class FunctionOracle:
    """A function that takes a list of pymatgen structures and returns a result for each.

    A result is a mapping of names to numbers, ``{"problem": "why there are none"}``, or a number
    where one is wanted. The function is called in the workers of the current engine with a list of
    *one* structure at a time, atoms in the order of the crystal, in a process of its own, which
    loads it once: a crystal for which it raises, hangs or kills its process is a failed one, and
    the others go on. What it prints goes to the standard error.

    Args:
        function: ``module:function`` (a module that can be imported, also from the working
            folder), ``file.py:function``, or a function.
        names: Names of the numbers that it gives; others that it returns are kept as facts.
        timeout: Seconds for a crystal.
        num_workers: Processes; None for all cores. An engine in charge takes their place.

    Raises:
        ValueError: If the text is none of these.
        ModuleNotFoundError: If there is no such module or file.
    """

    def __init__(
        self,
        function: str | Callable[[list[Any]], Any],
        names: Sequence[str],
        *,
        timeout: float = 3600.0,
        num_workers: int | None = None,
    ) -> None:
        self.names = some_names(names)
        self.title, self._hello, source = _described(function)
        self.identity = f"python:{self.title} {source[:16]} -> {','.join(self.names)}"
        self._timeout, self._num_workers = timeout, num_workers

    def check(self) -> None:
        """Load the function once, to see that it is there.

        Raises:
            ImportError: If it cannot be loaded; the message says why.
        """
        _call_server(_Call(self.title, self._hello, self.names, self._timeout)).end()

    def ask(self, crystals: Mapping[str, Crystal]) -> Iterator[tuple[str, Answer]]:
        """See :class:`pyg_crysdiff.design.Oracle`.

        Raises:
            ImportError: If the function cannot be loaded.
        """
        good, bad = usable(crystals)
        yield from bad.items()
        call = _Call(self.title, self._hello, self.names, self._timeout)
        try:
            yield from in_turn(call, good, self._num_workers, fatal=ImportError)
        finally:
            for server in _idle.pop(call.digest, []):  # in a worker it ends with the worker
                server.end()


@dataclass(frozen=True)
class _Call:
    """What a worker does with a crystal."""

    title: str
    hello: Mapping[str, Any]
    names: tuple[str, ...]
    timeout: float

    @property
    def digest(self) -> str:
        return facts_digest(self.hello)

    def __call__(self, item: tuple[str, Crystal]) -> Answer:
        _, crystal = item
        question = {
            "lattice": crystal.lattice.tolist(),
            "frac_coords": crystal.frac_coords.tolist(),
            "atomic_numbers": crystal.atomic_numbers.tolist(),
        }
        server = _call_server(self)
        start = time.monotonic()
        facts: dict[str, Any] = {"function": self.title, "host": platform.node()}
        try:
            found = server.ask(question, self.timeout)
        except TimeOverError:
            return Answer.failed(f"did not end within {self.timeout:g} s and was ended", **facts)
        except GoneError as error:
            return Answer.failed(str(error), **facts)
        _idle.setdefault(self.digest, []).append(server)
        facts["seconds"] = round(time.monotonic() - start, 3)
        if "problem" in found:
            return Answer.failed(found["problem"], **facts, traceback=found["traceback"])
        return answer_of(found["result"], self.names, **facts)


def _call_server(call: _Call) -> Server:
    """Return a process that has loaded the function and is at nothing."""
    waiting = _idle.get(call.digest, [])
    while waiting:
        with suppress(IndexError):  # taken by another thread
            return waiting.pop()
    try:
        return Server(call.hello, max(_LOADING, call.timeout))
    except ImportError as error:
        raise ImportError(f"{call.title} cannot be loaded: {error}") from None


def _described(function: str | Callable[[list[Any]], Any]) -> tuple[str, dict[str, Any], str]:
    """Return title, what a process must know to load it, and a digest of its source."""
    path = [*sys.path, os.getcwd()]  # noqa: PTH109  (a text)
    if not isinstance(function, str):
        import cloudpickle  # noqa: PLC0415  (only here)

        content = cloudpickle.dumps(function)
        name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
        hello = {"path": path, "pickle": base64.b64encode(content).decode()}
        return name, hello, _source_digest(function) or digest_of([content])
    module, colon, name = function.rpartition(":")
    if not colon or not name.isidentifier():
        raise ValueError(f"write module:function or file.py:function, got {function!r}")
    if module.endswith(".py"):
        file = user_path(module).absolute()
        if not file.is_file():
            raise ModuleNotFoundError(f"{function}: no file {file}")
        title = f"{file.name}:{name}"
        return title, {"path": path, "file": str(file), "name": name}, file_digest(file)
    source = _file_of(module, path)
    return function, {"path": path, "module": module, "name": name}, source


def _file_of(module: str, path: list[str]) -> str:
    """Return the digest of a module's file, without running it (but the packages it is in)."""
    before = list(sys.path)
    sys.path[:] = path
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        spec = None
    finally:
        sys.path[:] = before
    if spec is None:
        raise ModuleNotFoundError(
            f"no module {module!r}: install it, or run this in the folder in which it lies"
        )
    return file_digest(spec.origin) if spec.origin and Path(spec.origin).is_file() else ""


def _source_digest(function: Any) -> str:
    """Return the digest of the file in which a function stands; empty where there is none."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        file = inspect.getsourcefile(function if inspect.isroutine(function) else type(function))
    except TypeError:  # built in, or of a notebook
        return ""
    return file_digest(file) if file and Path(file).is_file() else ""
