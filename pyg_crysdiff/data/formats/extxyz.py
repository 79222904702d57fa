"""Extended XYZ: frames of a file, and one frame to a crystal."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from itertools import islice
from typing import Any

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formats.species import MOST_ATOMS, atomic_number, check_species, symbol_of
from pyg_crysdiff.data.texts import lines_of

_PLACES = ("pos", "positions")
# What may be meant as a number, but is none: 1.0D+02 of Fortran, 5%, 1,5.
_NEARLY_NUMBER = re.compile(r"[+-]?\d[\d.,]*([eEdD][+-]?\d+)?\s*%?")


def split_frames(text: str, name: str) -> list[str]:
    """Cut a file into frames, so that one bad frame leaves the others whole.

    Args:
        text: Content of the file.
        name: The file, for the message.

    Raises:
        ValueError: If a number of atoms stands not where it must.
    """
    return list(frames_of(lines_of(text), name))


def frames_of(lines: Iterable[str], name: str) -> Iterator[str]:
    """Yield the frames of lines that may come one after the other; see :func:`split_frames`."""
    walk = iter(lines)
    number = 0
    for line in walk:
        number += 1
        word = line.strip()
        if not word:
            continue
        if not (word.isascii() and word.isdecimal() and len(word) < 10):
            raise ValueError(
                f"{name}, line {number}: expected a number of atoms, got {word[:60]!r}"
            )
        rest = list(islice(walk, 1 + int(word)))
        number += len(rest)
        yield "\n".join([line, *rest])


def frame_crystal(frame: str) -> Crystal:
    """Read one frame.

    A fact of the comment line that is nearly a number (``5%``) comes as a Python warning.

    Raises:
        ValueError: If lines are missing, a species is no element, there are no Cartesian
            positions, or the frame is not periodic in three dimensions.
    """
    from ase import Atoms  # noqa: PLC0415
    from ase.io import read  # noqa: PLC0415

    lines = lines_of(frame)
    said, there = int(lines[0]), len(lines) - 2
    if said != there:  # ASE would go on counting to whatever number stands there
        raise ValueError(f"the frame says {said} atoms, but {max(there, 0)} lines follow")
    if not 0 < said <= MOST_ATOMS:
        raise ValueError(f"the frame says {said} atoms, but 1 to {MOST_ATOMS} are read")
    facts = _facts(lines[1])
    if "Lattice" not in facts:
        raise ValueError("not periodic: the frame has no Lattice")
    _warn_of_words(facts)
    lines[2:] = _with_elements(lines[2:], str(facts.get("Properties", "species:S:1:pos:R:3")))
    atoms = read(StringIO("\n".join(lines) + "\n"), format="extxyz", index=0)
    assert isinstance(atoms, Atoms)
    if not all(atoms.pbc):
        raise ValueError("not periodic in three dimensions (pbc)")
    if len(atoms) != said:
        raise ValueError(f"the frame says {said} atoms, but {len(atoms)} were read")
    check_species(atoms.numbers)
    if atoms.cell.rank < 3:
        raise ValueError("the lattice is flat: its three vectors span no cell")
    return Crystal(atoms.cell.array, atoms.get_scaled_positions(wrap=False), atoms.numbers)


def frame_properties(frame: str) -> dict[str, float]:
    """Return the numbers in a frame's comment line, which are properties of the crystal.

    An infinite one is among them, so that what takes properties can refuse it; NaN is a gap.
    """
    lines = lines_of(frame)
    return single_numbers(_facts(lines[1]) if len(lines) > 1 else {})


def single_numbers(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return the facts that are single numbers; an infinite one is, a truth value or NaN is not."""
    return {
        str(key): float(value)
        for key, value in facts.items()
        if isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and not math.isnan(value)
    }


def _warn_of_words(facts: dict[str, Any]) -> None:
    """Say which fact is no property although it looks like a number."""
    for key, value in facts.items():
        # Of 1,5 ASE makes the two numbers 1 and 5.
        pair = isinstance(value, np.ndarray) and value.shape == (2,) and value.dtype.kind in "iu"
        shown = ",".join(map(str, value)) if pair else value
        if isinstance(shown, str) and _NEARLY_NUMBER.fullmatch(shown):
            warnings.warn(f"{key} is {shown!r}, not a number, and is not read", stacklevel=2)


def _facts(comment: str) -> dict[str, Any]:
    from ase.io.extxyz import key_val_str_to_dict  # noqa: PLC0415

    try:
        return dict(key_val_str_to_dict(comment))
    except Exception as error:  # ASE raises whatever it meets in a foreign comment
        raise ValueError(f"the comment line cannot be read: {comment[:80]!r}") from error


def _with_elements(lines: list[str], properties: str) -> list[str]:
    """Put the plain element where a line has a charge, an isotope or small letters.

    The columns are counted first: ASE makes room for whatever number stands there.
    """
    columns = _columns(properties)
    width = sum(columns.values())
    words = [line.split() for line in lines]
    if short := next((row for row in words if len(row) < width), None):
        raise ValueError(f"an atom has {len(short)} words, but Properties says {width}")
    names = list(columns)
    _check_places(columns)
    symbol = next((n for n in names if n.lower() in ("species", "symbols", "element")), None)
    if symbol is None:
        return lines
    at = sum(columns[name] for name in names[: names.index(symbol)])
    for row in words:
        row[at] = symbol_of(atomic_number(row[at]))
    return [" ".join(row) for row in words]


def _check_places(columns: dict[str, int]) -> None:
    """Refuse a frame without positions, all atoms of which ASE puts into the origin."""
    there = [name for name in columns if name in _PLACES]
    if len(there) != 1 or columns[there[0]] != 3:
        shown = ", ".join(f"{name} ({count})" for name, count in columns.items())
        raise ValueError(
            "Properties must have one column pos of 3 numbers, the Cartesian positions in "
            f"Angstrom (fractional ones are not read); its columns are {shown}"
        )


def _columns(properties: str) -> dict[str, int]:
    """Return the number of words of every property of an atom, in order."""
    fields = properties.split(":")
    names, counts = fields[::3], fields[2::3]
    small = all(count.isascii() and count.isdecimal() and len(count) < 4 for count in counts)
    if len(fields) % 3 or not small or len(set(names)) != len(names):
        raise ValueError(f"Properties cannot be read: {properties[:80]!r}")
    return {name: int(count) for name, count in zip(names, counts, strict=True)}
