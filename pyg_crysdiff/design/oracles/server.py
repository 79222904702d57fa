"""A script that loads a function and calls it for the crystals that come in, a line for each.

It imports nothing of the package, so that it starts quickly, and ends when its input ends, whatever
the function is at. The first line says what to load (``path``, ``module`` or ``file`` with
``name``, or ``pickle``); every other one is a crystal. A line of JSON answers each: ``result``, or
``problem`` with ``traceback``. What the function prints goes to the standard error.
"""

import base64
import importlib
import importlib.util
import json
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

_LONGEST = 2000  # characters of a traceback


def main() -> None:
    """Answer until the input ends."""
    lines, out = _streams()
    function: Callable[[list[Any]], Any] | None = None
    while True:
        question = json.loads(lines.get())
        try:
            if function is None:
                function = _load(question)
                importlib.import_module("pymatgen.core")  # counts as loading, not as an evaluation
                found: dict[str, Any] = {"result": None}
            else:
                found = {"result": _result(function([_structure(question)]))}
            text = json.dumps(found, default=_plain)
        except (Exception, SystemExit) as error:
            said = " ".join(str(error).split())
            problem = f"{type(error).__name__}: {said}" if said else type(error).__name__
            lines_of_it = "".join(traceback.format_exception(error))
            text = json.dumps({"problem": problem, "traceback": lines_of_it[-_LONGEST:]})
        out.write(text.encode() + b"\n")
        out.flush()


def _streams() -> tuple["queue.SimpleQueue[bytes]", BinaryIO]:
    """Take input and output for the questions alone; the function gets others."""
    given, out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(given, lines), daemon=True).start()
    return lines, out


def _listen(given: BinaryIO, lines: "queue.SimpleQueue[bytes]") -> None:
    for line in given:
        lines.put(line)
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)  # with what the function has started
    os._exit(0)


def _load(what: dict[str, Any]) -> Callable[[list[Any]], Any]:
    sys.path[:] = what["path"]
    if "pickle" in what:
        found: Callable[[list[Any]], Any] = pickle.loads(base64.b64decode(what["pickle"]))
        return found
    if "file" in what:
        name = Path(what["file"]).stem
        spec = importlib.util.spec_from_file_location(name, what["file"])
        assert spec is not None  # its name ends in .py
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(what["module"])
    found = getattr(module, what["name"])
    if not callable(found):
        raise TypeError(f"{what['name']} is no function but a {type(found).__name__}")
    return found


def _structure(crystal: dict[str, Any]) -> Any:
    from pymatgen.core import Lattice, Structure  # noqa: PLC0415  (where the path is known)

    lattice = Lattice(crystal["lattice"])
    return Structure(lattice, crystal["atomic_numbers"], crystal["frac_coords"])


def _result(found: Any) -> Any:
    """Return what was given for the one crystal."""
    if hasattr(found, "tolist"):
        found = found.tolist()
    if isinstance(found, list | tuple):
        if len(found) != 1:
            raise ValueError(f"the function gave {len(found)} results for a list of 1 crystal")
        return found[0]
    return found


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a number of NumPy or PyTorch, or else a text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


if __name__ == "__main__":
    main()
