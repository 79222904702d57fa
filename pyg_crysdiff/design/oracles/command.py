"""A program of the user's, run for each crystal with the file of its structure."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.writers import crystal_to_cif
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.design.oracles.answering import (
    RELAXED,
    answer_of,
    printed_value,
    relaxed_crystal,
    some_names,
    usable,
)
from pyg_crysdiff.design.oracles.processes import TimeOverError, how_it_ended, run_program
from pyg_crysdiff.design.oracles.running import in_turn
from pyg_crysdiff.storage import write_text

_TAIL = 2000  # characters of what a program that failed said last


class CommandOracle:
    """A program that gets a CIF file as its last argument and prints a JSON object or a number.

    Several run at a time, in the workers of the current engine. Each runs without a shell in a
    folder of its own, in which ``structure.cif``, ``stdout.txt`` and ``stderr.txt`` lie; it may
    leave ``relaxed.cif`` (or ``CONTCAR``) there. Of what it prints all must be JSON, or the last
    line: ``{"band_gap": 1.2}``, ``1.2`` where one number is wanted, or
    ``{"problem": "why there is none"}``. An exit status other than 0 is a failure. A program that
    does not end in time is ended, with all that it has started; so it is where this process ends.

    Args:
        words: Program and arguments, as a list or as a command line. Words that are files of the
            working folder stay what they are, though the program runs elsewhere.
        names: Names of the numbers that it gives; others that it prints are kept as facts.
        timeout: Seconds for a crystal.
        folder: Folder of the folders of the crystals, named by their keys, which stay; None for
            temporary ones.
        num_workers: Programs at a time; None for one per core. An engine in charge takes their
            place.

    Raises:
        ValueError: If there are no words.
        FileNotFoundError: If there is no such program.
    """

    def __init__(
        self,
        words: str | Sequence[str],
        names: Sequence[str],
        *,
        timeout: float = 3600.0,
        folder: str | Path | None = None,
        num_workers: int | None = None,
    ) -> None:
        self.names = some_names(names)
        split = split_command(words) if isinstance(words, str) else list(words)
        if not split:
            raise ValueError("a command needs a program")
        self.title = f"command:{shlex.join(split)}"
        self.identity = f"{self.title} -> {','.join(self.names)}"
        place = None if folder is None else Path(folder).absolute()
        self._call = _Call(tuple(_placed(split)), self.title, self.names, timeout, place)
        self._num_workers = num_workers

    def ask(self, crystals: Mapping[str, Crystal]) -> Iterator[tuple[str, Answer]]:
        """See :class:`pyg_crysdiff.design.Oracle`."""
        good, bad = usable(crystals)
        yield from bad.items()
        yield from in_turn(self._call, good, self._num_workers)


def split_command(text: str) -> list[str]:
    """Return the words of a command line, with the quotes of this system's shell."""
    if os.name == "posix":
        return shlex.split(text)
    words = shlex.split(text, posix=False)  # a backslash is part of a path
    return [w[1:-1] if len(w) > 1 and w[0] == w[-1] in ("'", '"') else w for w in words]


def _placed(words: Sequence[str]) -> list[str]:
    """Return words that mean the same in another folder."""
    program = shutil.which(words[0])
    if program is None:
        raise FileNotFoundError(f"no program {words[0]!r}; name one that can be executed")
    files = [str(Path(w).absolute()) if Path(w).is_file() else w for w in words[1:]]
    return [str(Path(program).absolute()), *files]


@dataclass(frozen=True)
class _Call:
    """What a worker does with a crystal."""

    words: tuple[str, ...]
    title: str
    names: tuple[str, ...]
    timeout: float
    folder: Path | None

    def __call__(self, item: tuple[str, Crystal]) -> Answer:
        key, crystal = item
        facts: dict[str, Any] = {"command": self.title, "host": platform.node()}
        place: AbstractContextManager[Any]
        if self.folder is None:
            place = tempfile.TemporaryDirectory(prefix="crysdiff-", ignore_cleanup_errors=True)
        else:
            place = nullcontext(self.folder / key)
            facts["folder"] = str(self.folder / key)
        with place as folder:
            return self._evaluate(Path(folder), crystal, facts)

    def _evaluate(self, folder: Path, crystal: Crystal, facts: dict[str, Any]) -> Answer:
        write_text(folder / "structure.cif", crystal_to_cif(crystal), flush=False)
        for name in RELAXED:  # of a run that was killed
            (folder / name).unlink(missing_ok=True)
        said, errors = folder / "stdout.txt", folder / "stderr.txt"
        words = [*self.words, str(folder / "structure.cif")]
        start = time.monotonic()
        try:
            with said.open("wb") as out, errors.open("wb") as err:
                code = run_program(words, folder, self.timeout, out, err)
        except TimeOverError:
            problem = f"did not end within {self.timeout:g} s and was ended"
            return Answer.failed(problem, **facts, stderr=_text(errors)[-_TAIL:])
        facts["seconds"] = round(time.monotonic() - start, 3)
        if code:
            text = _text(errors)
            last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
            problem = f"{how_it_ended(code)}: {last}" if last else how_it_ended(code)
            return Answer.failed(problem, **facts, stderr=text[-_TAIL:])
        try:
            answer = answer_of(printed_value(_text(said)), self.names, **facts)
            relaxed = None if answer.problem else relaxed_crystal(folder, crystal)
        except ValueError as error:
            return Answer.failed(str(error), **facts, stderr=_text(errors)[-_TAIL:])
        return replace(answer, crystal=relaxed)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")
