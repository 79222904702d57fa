"""A queue of jobs: a folder for each crystal, in which somebody's program leaves its result."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.writers import crystal_to_cif, crystal_to_poscar
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.design.oracles.answering import (
    relaxed_crystal,
    some_names,
    usable,
    wanted_numbers,
)
from pyg_crysdiff.design.oracles.result_table import Row, read_table
from pyg_crysdiff.storage import read_record, user_path, write_json, write_text

log = logging.getLogger(__name__)
JOB, RESULT, TABLE = "job.json", "result.json", "results.csv"
_MOST_NAMED = 5  # mistakes in a message


class FolderOracle:
    """A folder of jobs that somebody else carries out, such as a queue of DFT calculations.

    ``ask`` makes ``FOLDER/KEY/`` with ``structure.cif``, ``POSCAR`` (the same crystal, atoms in its
    order) and ``job.json`` (which numbers are wanted). It appears whole, and is made once: one
    that is there is left alone. The result is ``FOLDER/KEY/result.json``,

    - ``{"band_gap": 1.2}``, where there may be more than the wanted numbers, or
    - ``{"problem": "SCF did not converge"}`` for a job that failed;

    or a row of ``FOLDER/results.csv`` with the columns ``key``, the names of the numbers and, if
    need be, ``problem``; rows without any of them are still under way. ``FOLDER/KEY/relaxed.cif``
    or ``CONTCAR``, written before the result, is the relaxed crystal. A job without a result is
    still under way, and so is one whose result is just being written.

    Args:
        folder: The folder; made if need be.
        names: Names of the wanted numbers.
    """

    def __init__(self, folder: str | Path, names: Sequence[str]) -> None:
        self.names = some_names(names)
        self.folder = user_path(folder).absolute()
        self.title = f"folder:{self.folder.name}"
        self.identity = f"{self.title} -> {','.join(self.names)}"

    def ask(self, crystals: Mapping[str, Crystal]) -> Iterator[tuple[str, Answer]]:
        """See :class:`pyg_crysdiff.design.Oracle`.

        Raises:
            ValueError: If a folder holds the job of another crystal, or a result cannot be used;
                the message names file and field. All other results have been yielded then. A
                mistake of whoever writes results is no failed evaluation: mend the file, and go
                on.
        """
        good, bad = usable(crystals)
        yield from bad.items()
        for key in [key for key, crystal in good.items() if not self._is_there(key, crystal)]:
            self._submit(key, good[key])
        table, mistakes = read_table(self.folder / TABLE, list(good))
        for key, crystal in good.items():
            try:
                answer = self._result(key, crystal, table.get(key))
            except ValueError as error:
                mistakes.append(str(error))
                continue
            if answer is not None:
                yield key, answer
        if mistakes:
            more = len(mistakes) - _MOST_NAMED
            rest = f"; and {more} more" if more > 0 else ""
            raise ValueError("; ".join(mistakes[:_MOST_NAMED]) + rest)

    def _submit(self, key: str, crystal: Crystal) -> None:
        """Make the folder of a job, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f".{key}-{secrets.token_hex(4)}.tmp"
        try:
            write_text(beside / "structure.cif", crystal_to_cif(crystal))
            write_text(beside / "POSCAR", crystal_to_poscar(crystal, key, group=False))
            write_json(
                beside / JOB, {"key": key, "digest": crystal.digest(), "wanted": list(self.names)}
            )
            beside.rename(self.folder / key)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _is_there(self, key: str, crystal: Crystal) -> bool:
        """Whether the job of a crystal has been submitted.

        Raises:
            ValueError: If another one has.
        """
        place = self.folder / key
        if not place.exists():
            return False
        job = read_record(place / JOB) if (place / JOB).is_file() else {}
        if job.get("digest") != crystal.digest():
            what = "the job of another crystal" if job else f"no {JOB}"
            raise ValueError(
                f"{place} is there already and holds {what}: let the run use a folder of its own"
            )
        return True

    def _result(self, key: str, crystal: Crystal, row: Row | None) -> Answer | None:
        """Return the answer of a job; None where it is under way."""
        place = self.folder / key
        found = _written(place / RESULT)
        where, source = str(place / RESULT), RESULT
        if found is None:
            if row is None:
                return None
            found, where, source = row.values, row.where, TABLE
        facts = {"job": str(place), "result": source}
        if problem := found.get("problem"):
            return Answer.failed(str(problem), **facts)
        try:
            values, more = wanted_numbers(found, self.names)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        more.pop("problem", None)  # an empty one
        answer = Answer(values, facts=facts | ({"more": more} if more else {}))
        return replace(answer, crystal=relaxed_crystal(place, crystal))


def _written(file: Path) -> dict[str, Any] | None:
    """Return the result in a file; None where there is none, or it is not yet whole.

    Raises:
        ValueError: If it is no JSON object.
    """
    with suppress(FileNotFoundError):
        content = file.read_bytes()
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            log.warning(
                "%s is no JSON (%s): not yet whole? It is read again next time", file, error
            )
            return None
        if not isinstance(found, dict):
            raise ValueError(f'{file}: write a JSON object, such as {{"band_gap": 1.2}}')
        return found
    return None
