"""The numbers in what somebody's code gave, and crystals that cannot be asked about."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.data.readers import read_crystals
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.evaluation.validity import structural_problem

RELAXED = ("relaxed.cif", "CONTCAR")


def usable(crystals: Mapping[str, Crystal]) -> tuple[dict[str, Crystal], dict[str, Answer]]:
    """Return the crystals that are structures, and answers for those that are none."""
    problems = {key: structural_problem(crystal) for key, crystal in crystals.items()}
    good = {key: crystals[key] for key, problem in problems.items() if problem is None}
    return good, {key: Answer.failed(p) for key, p in problems.items() if p is not None}


def wanted_numbers(found: Any, names: Sequence[str]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the numbers of some names, and what else was given.

    Args:
        found: Name to number; or one number, where one is wanted.
        names: The wanted ones.

    Raises:
        ValueError: If one is missing or no finite number; the message names it.
    """
    if not isinstance(found, Mapping):
        if len(names) > 1:
            raise ValueError(f"gave {_shown(found)}; wanted are {', '.join(names)} by name")
        found = {names[0]: found}
    if missing := [name for name in names if name not in found]:
        given = ", ".join(map(str, found)) or "nothing"
        raise ValueError(f"gave no {' and no '.join(missing)} (it gave {given})")
    for name in names:
        value = found[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is {_shown(value)}, which is no number")
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, which is no finite number")
    more = {str(key): value for key, value in found.items() if key not in names}
    return {name: float(found[name]) for name in names}, more


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def answer_of(found: Any, names: Sequence[str], **facts: Any) -> Answer:
    """Return the answer in what was given: numbers, or ``{"problem": "why there are none"}``."""
    if isinstance(found, Mapping) and found.get("problem"):
        return Answer.failed(str(found["problem"]), **facts)
    try:
        values, more = wanted_numbers(found, names)
    except ValueError as error:
        return Answer.failed(str(error), **facts)
    return Answer(values, facts=facts | ({"more": more} if more else {}))


def printed_value(text: str) -> Any:
    """Return the JSON value of a text, or else of its last line; programs say more than numbers.

    Raises:
        ValueError: If it is neither.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("printed nothing; a JSON object or a number is expected")
    for part in (text, lines[-1]):
        try:
            return json.loads(part)
        except (ValueError, RecursionError):
            continue
    raise ValueError(f"printed no JSON and no number; the last line is {_shown(lines[-1].strip())}")


def relaxed_crystal(folder: Path, asked: Crystal) -> Crystal | None:
    """Return the relaxed crystal that a job has left in its folder; None where it left none.

    Args:
        folder: Folder with ``relaxed.cif`` or, of VASP, ``CONTCAR``; an empty file is none.
        asked: The crystal that was relaxed; its ``info`` is taken over.

    Raises:
        ValueError: If the file cannot be read, or holds other elements; the message names it.
    """
    for file in (folder / name for name in RELAXED):
        if not (file.is_file() and file.stat().st_size):
            continue
        found = read_crystals(file, num_workers=0)
        if len(found) != 1 or isinstance(found[0], BrokenEntry):
            why = found[0].reason if isinstance(found[0], BrokenEntry) else f"{len(found)} crystals"
            raise ValueError(f"{file} is no crystal ({why}); mend it, or take it away")
        one = found[0]
        if reduced_formula(one) != reduced_formula(asked):
            raise ValueError(
                f"{file} is {reduced_formula(one)}, but {reduced_formula(asked)} was asked for"
            )
        return Crystal(one.lattice, one.frac_coords, one.atomic_numbers, dict(asked.info))
    return None


def some_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the numbers that somebody's code is to give, each once.

    Raises:
        ValueError: If there are none.
    """
    if isinstance(names, str) or not names:
        raise ValueError(f"an oracle needs the names of its numbers, as a list; got {names!r}")
    return tuple(dict.fromkeys(names))
