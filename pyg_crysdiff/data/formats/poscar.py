"""VASP's POSCAR and CONTCAR, with their counts checked before pymatgen reads them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formats.species import MOST_ATOMS, atomic_number, symbol_of
from pyg_crysdiff.data.texts import lines_of


@dataclass
class _Head:
    """Elements (none in the files of VASP 4), their counts, and the line behind the counts."""

    symbols: list[str]
    counts: list[int]
    end: int


def poscar_crystal(text: str) -> Crystal:
    """Read a POSCAR.

    Elements come from their line; in a file of VASP 4 from the end of each coordinate line, or
    from the first line where it holds one element for every count. A negative scaling factor is
    the volume of the cell; three factors are those of x, y and z. They apply to Cartesian
    coordinates, too.

    Raises:
        ValueError: If a line is missing or no number, an element is unknown, a scaling factor
            makes no cell, or the number of coordinate lines is not that of the counts.
    """
    from pymatgen.io.vasp import Poscar  # noqa: PLC0415

    lines = [line.split("#")[0].split("!")[0].rstrip() for line in lines_of(text)]
    if len(lines) < 8:
        raise ValueError(f"a POSCAR has at least 8 lines, this file has {len(lines)}")
    _check_factors(lines[1])
    for k in (2, 3, 4):
        _floats(lines[k], 3, f"the lattice vector in line {k + 1}")
    head = _read_head(lines)
    total = sum(head.counts)
    if not 0 < total <= MOST_ATOMS:
        raise ValueError(f"the file says {total} atoms, but 1 to {MOST_ATOMS} are read")
    start = _check_coordinates(lines, head.end, total)
    symbols = head.symbols or _symbols_elsewhere(lines, head.counts, start)
    numbers = [atomic_number(symbol) for symbol in symbols]
    if len(symbols) != len(head.counts):
        raise ValueError(f"{len(symbols)} elements, but {len(head.counts)} counts of atoms")
    names = [symbol_of(number) for number in numbers]
    # One line each, whatever the file had, so that pymatgen has nothing to guess.
    plain = ["POSCAR", *lines[1:5], " ".join(names), " ".join(map(str, head.counts))]
    plain += _without_factors(plain, lines[head.end : start], lines[start : start + total])
    structure = Poscar.from_str("\n".join(plain) + "\n").structure
    if len(structure) != total:
        raise ValueError(f"the file says {total} atoms, but {len(structure)} were read")
    return Crystal.from_structure(structure)


def _read_head(lines: list[str]) -> _Head:
    """Read elements and counts, which VASP wraps over several lines each."""
    at, symbols, counts = 5, [], []
    while at < len(lines) and lines[at].split() and not lines[at].split()[0].isdecimal():
        symbols += [word.split("/")[0].split("_")[0] for word in lines[at].split()]
        at += 1
    while at < len(lines) and lines[at].split() and all(w.isdecimal() for w in lines[at].split()):
        counts += [int(word[:12]) for word in lines[at].split()]
        at += 1
        if (symbols and len(counts) >= len(symbols)) or not symbols:
            break
    if not counts:
        raise ValueError("line 6 or 7 must hold the number of atoms of each element")
    return _Head(symbols, counts, at)


def _check_coordinates(lines: list[str], at: int, total: int) -> int:
    """Return the first coordinate line, having counted all of them."""
    if at < len(lines) and lines[at].strip()[:1] in ("s", "S"):
        at += 1
    if at >= len(lines) or not lines[at].strip() or _is_place(lines[at]):
        raise ValueError(f"line {at + 1} must say Direct or Cartesian")
    start = at + 1
    there = 0
    while start + there < len(lines) and _is_place(lines[start + there]):
        there += 1
    if there != total:
        raise ValueError(f"the file says {total} atoms, but {there} lines of coordinates follow")
    return start


def _check_factors(line: str) -> None:
    what = "the scaling factor (line 2)"
    count = 3 if len(line.split()) == 3 else 1
    _floats(line, count, what)
    factors = [float(word) for word in line.split()[:count]]
    if 0 in factors or (count == 3 and min(factors) < 0):
        rule = "none of three may be negative or 0" if count == 3 else "0 makes no cell"
        raise ValueError(f"{what} is {line.strip()[:60]!r}: {rule}")


def _without_factors(plain: list[str], mode: list[str], places: list[str]) -> list[str]:
    """Return mode and coordinate lines; put what a volume or three factors mean into the head.

    pymatgen multiplies Cartesian coordinates by a negative factor as it is, and reads no three.

    Args:
        plain: Lines up to the counts; a factor or lattice that pymatgen misreads is replaced.
        mode: Lines between the counts and the coordinates; the last one is the mode.
        places: Lines of coordinates.
    """
    lattice = _numbers(plain[2:5])
    factors = np.array([float(word) for word in plain[1].split()[:3]])
    if len(factors) == 1 and factors[0] < 0:
        volume = abs(float(np.linalg.det(lattice)))
        if not volume > 0:
            raise ValueError("the lattice vectors (lines 3 to 5) span no cell")
        plain[1] = repr((-float(factors[0]) / volume) ** (1 / 3))
    elif len(factors) == 3:
        plain[1], plain[2:5] = "1.0", _texts(lattice * factors)
        if mode[-1].strip()[:1] in tuple("cCkK"):
            rest = [" ".join(["", *line.split()[3:]]) for line in places]
            places = [a + b for a, b in zip(_texts(_numbers(places) * factors), rest, strict=True)]
    return mode + places


def _numbers(lines: list[str]) -> NDArray[np.float64]:
    return np.array([[float(word) for word in line.split()[:3]] for line in lines])


def _texts(rows: NDArray[np.float64]) -> list[str]:
    return [" ".join(map(repr, row)) for row in rows.tolist()]


def _symbols_elsewhere(lines: list[str], counts: list[int], start: int) -> list[str]:
    ends: list[str] = []
    for k, count in enumerate(counts):
        first = start + sum(counts[:k])
        kinds = {line.split()[-1] for line in lines[first : first + count]}
        ends += sorted(kinds) if len(kinds) == 1 else []
    for symbols, where in ((ends, "the end of the coordinate lines"), (lines[0].split(), "line 1")):
        if len(symbols) == len(counts) and _all_elements(symbols):
            warnings.warn(f"no line of elements; they were taken from {where}", stacklevel=2)
            return symbols
    raise ValueError("no line of elements (line 6): the file does not say what its atoms are")


def _all_elements(symbols: list[str]) -> bool:
    try:
        return bool([atomic_number(symbol) for symbol in symbols])
    except ValueError:
        return False


def _is_place(line: str) -> bool:
    try:
        return len([float(word) for word in line.split()[:3]]) == 3
    except ValueError:
        return False


def _floats(line: str, count: int, what: str) -> None:
    try:
        fits = len([float(word) for word in line.split()[:count]]) == len(line.split()[: count + 1])
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{what} must hold {count} numbers, it is {line.strip()[:60]!r}")
