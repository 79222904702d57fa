"""JSON of pymatgen structures, in the layouts of pymatgen, pandas and matbench.

Structures are read from their numbers. pymatgen's own decoder imports the modules that a file
names, which no file from elsewhere should decide.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formats.species import MOST_ATOMS, atomic_number, check_species

log = logging.getLogger(__name__)
_Rows = np.ndarray | list
_PERIODIC = (True, True, True)
_COLUMNS = ("structure", "final_structure", "cif")
_IDENTIFIERS = ("material_id", "id", "mat_id", "name", "mp_id", "jid")
_LAYOUTS = (
    "known layouts: a pymatgen structure, a list of them, an object of them by name, records with "
    "a structure column, and the orients of pandas (split, records, index, columns, list, values, "
    "table)"
)


@dataclass(frozen=True)
class Row:
    """One entry: its name, its structure as JSON or CIF text, and the numbers beside it."""

    name: str
    text: str
    fmt: str
    properties: dict[str, float]


def load_json(text: str, name: str) -> Any:
    """Parse JSON, or one JSON value per line.

    Raises:
        ValueError: If it is neither, nested too deep, or holds a number without bound.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        try:
            lines = [json.loads(line) for line in text.split("\n") if line.strip()]
        except (ValueError, RecursionError):
            lines = []
        if len(lines) < 2:
            raise ValueError(f"{name} is not valid JSON ({error})") from error
        return lines
    except RecursionError as error:
        raise ValueError(f"{name} is JSON nested too deep to be read") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise ValueError(f"{name} holds JSON that cannot be read: {error}") from error


def structure_rows(content: Any, name: str, first: int = 0) -> list[Row]:
    """Find the entries of a JSON file.

    A text where a number may be meant is no property; a line of the log names it.

    Args:
        content: Parsed JSON.
        name: The file, for the message.
        first: Number of the first entry, where ``content`` is a list out of the middle of a file.

    Raises:
        ValueError: If there is no structure in it, or several columns hold structures.
    """
    records = list(_records(content, name, first))
    column = _column([record for _, record in records], name)
    if first == 0:  # once for a file that is read in parts
        _note_words([_beside(record, column) for _, record in records], name)
    return [_row(key, record, column) for key, record in records]


def json_crystal(text: str) -> Crystal:
    """Read one structure as pymatgen's ``Structure.as_dict`` writes it.

    Raises:
        ValueError: If a part is missing, the structure is a molecule, disordered or not periodic,
            or a species is no element.
    """
    content = _plain(load_json(text, "the structure"))
    if not _is_crystal(content):
        raise ValueError("no pymatgen structure in it (an object with lattice and sites)")
    lattice = content.get("lattice")
    if not isinstance(lattice, dict) or "matrix" not in lattice:
        raise ValueError("the structure has no lattice: a molecule")
    if not all(lattice.get("pbc", [True] * 3)):
        raise ValueError("not periodic in three dimensions (pbc)")
    matrix = _array(lattice["matrix"], (3, 3), "lattice")
    sites = content["sites"]
    if not isinstance(sites, list) or not all(isinstance(site, dict) for site in sites):
        raise ValueError("sites is no list of sites")
    if len(sites) > MOST_ATOMS:
        raise ValueError(f"{len(sites)} atoms are more than the {MOST_ATOMS} that are read")
    numbers = np.array([_number(site, i) for i, site in enumerate(sites)], dtype=np.int64)
    check_species(numbers)
    key = "abc" if all("abc" in site for site in sites) else "xyz"
    places = np.array([_array(s.get(key), (3,), f"{key} of site {i}") for i, s in enumerate(sites)])
    return Crystal(matrix, places if key == "abc" else places @ np.linalg.inv(matrix), numbers)


def structure_text(
    lattice: _Rows, species: Sequence[str], positions: _Rows, pbc: Iterable[bool] = _PERIODIC
) -> str:
    """Return the JSON that :func:`json_crystal` reads.

    Args:
        lattice: Lattice vectors as rows, Angstrom.
        species: Symbol of every atom.
        positions: Cartesian position of every atom, Angstrom.
        pbc: Whether the structure is periodic along each vector.
    """
    matrix, places = (v.tolist() if isinstance(v, np.ndarray) else v for v in (lattice, positions))
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "xyz": place}
        for symbol, place in zip(species, places, strict=False)
    ]
    if len(species) != len(places):
        sites = []  # which no crystal has: the entry is reported
    cell = {"matrix": matrix, "pbc": [bool(periodic) for periodic in pbc]}
    return json.dumps({"lattice": cell, "sites": sites})


def _number(site: dict[str, Any], index: int) -> int:
    species = site.get("species")
    if not isinstance(species, list) or not all(isinstance(s, dict) for s in species):
        raise ValueError(f"site {index} has no list of species")
    if len(species) != 1 or abs(float(species[0].get("occu", 1)) - 1) > 1e-8:
        raise ValueError(f"disordered: site {index} is not fully occupied by one species")
    return atomic_number(str(species[0].get("element", "")))


def _array(value: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(0)
    if array.shape != shape:
        raise ValueError(f"{what} must hold numbers of shape {shape}")
    return array


def _plain(value: Any) -> Any:
    """Put the list where monty wrote a numpy array or number."""
    if isinstance(value, dict):
        if str(value.get("@module", "")).startswith("numpy") and "data" in value:
            return value["data"]
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _is_crystal(value: Any) -> bool:
    if isinstance(value, dict):
        return "sites" in value
    if not isinstance(value, str):
        return False
    # A structure within a string: CIF text, or JSON once more.
    return "_cell_length_a" in value or (value[:1] == "{" and '"sites"' in value)


def _records(content: Any, name: str, first: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield (name or number, record) of every entry."""
    if isinstance(content, list) or _is_crystal(content):
        rows = content if isinstance(content, list) else [content]
        yield from ((str(i), row) for i, row in enumerate(rows, first))
        return
    if not isinstance(content, dict):
        raise ValueError(f"{name} holds no structures; {_LAYOUTS}")
    data = content.get("data")
    if isinstance(data, list) and isinstance(columns := content.get("columns"), list):
        keys = content.get("index")
        keys = keys if isinstance(keys, list) and len(keys) == len(data) else range(len(data))
        for key, row in zip(keys, data, strict=True):
            whole = isinstance(row, list) and len(row) == len(columns)
            yield str(key), dict(zip(map(str, columns), row, strict=True)) if whole else None
        return
    if isinstance(data, list) and "schema" in content:
        yield from ((str(i), row) for i, row in enumerate(data))
        return
    yield from _from_object(content, name)


def _from_object(content: dict[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    whole = [key for key, value in content.items() if _is_crystal(value)]
    if whole:
        others = [value for key, value in content.items() if key not in whole]
        one = len(whole) == 1 and others and not any(isinstance(v, dict | None) for v in others)
        yield from [("0", content)] if one else content.items()
        return
    nested = {key: dict(_items(v)) for key, v in content.items() if isinstance(v, dict | list)}
    inner = {key: [k for k, v in rows.items() if _is_crystal(v)] for key, rows in nested.items()}
    inner = {key: found for key, found in inner.items() if found}
    if not inner:
        shown = ", ".join(map(repr, list(content)[:5]))
        raise ValueError(f"{name} holds no structures (its keys are {shown}); {_LAYOUTS}")
    shared = {k for found in inner.values() for k in found}
    if shared <= set(_COLUMNS) or (len(shared) == 1 and len(inner) > 1):
        yield from content.items()  # records by name, each with its structure under one key
        return
    if len(inner) > 1 and not any(key in _COLUMNS for key in inner):
        raise ValueError(f"{name}: several parts hold structures ({', '.join(inner)}); keep one")
    column = next((key for key in _COLUMNS if key in inner), next(iter(inner)))
    keys = list(nested[column])
    table = {key: rows for key, rows in nested.items() if set(rows) == set(keys)}
    if other := [key for key in content if key not in table]:
        log.warning(
            "%s: %s left out: not a value for each of the %d entries of %s",
            name, ", ".join(map(repr, other)), len(keys), column,
        )  # fmt: skip
    yield from ((k, {column_name: rows[k] for column_name, rows in table.items()}) for k in keys)


def _items(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return ((str(k), v) for k, v in pairs)


def _column(records: list[Any], name: str) -> str | None:
    """Return the one column with structures; None where the records are structures."""
    found: dict[str, None] = {}
    whole = False
    for record in records:
        if _is_crystal(record):
            whole = True
        elif isinstance(record, dict | list):
            found.update({k: None for k, v in _items(record) if _is_crystal(v)})
    if not found and not whole:
        raise ValueError(f"{name} holds no structures; {_LAYOUTS}")
    named = [key for key in _COLUMNS if key in found]
    if len(found) > 1 and not named:
        raise ValueError(f"{name}: several columns hold structures ({', '.join(found)}); keep one")
    return next(iter(named or found), None)


def _row(key: str, record: Any, column: str | None) -> Row:
    if _is_crystal(record):
        return Row(key, *_text(record), {})
    fields = dict(_items(record)) if isinstance(record, dict | list) else {}
    beside = _beside(record, column)
    name = next((str(fields[k]) for k in _IDENTIFIERS if fields.get(k) is not None), key)
    numbers = {k: _float(v) for k, v in beside.items() if v is None or isinstance(v, int | float)}
    return Row(name, *_text(fields.get(column or "")), numbers)


def _beside(record: Any, column: str | None) -> dict[str, Any]:
    """Return what stands beside the structure of a record."""
    if _is_crystal(record) or not isinstance(record, dict | list):
        return {}
    return {k: v for k, v in _items(record) if k != column}


def _float(value: float | None) -> float:
    """Return a property: NaN for none; infinite ones stay, so that their entry is refused."""
    try:
        return math.nan if value is None else float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf


def _note_words(records: list[dict[str, Any]], name: str) -> None:
    """Say which columns hold a text among numbers, or numbers in quotes."""
    words: dict[str, str] = {}
    numeric: set[str] = set()
    for fields in records:
        for key, value in fields.items():
            if isinstance(value, int | float):
                numeric.add(key)
            elif isinstance(value, str) and value.strip() and key not in _IDENTIFIERS:
                words.setdefault(key, value[:40])
    meant = [f"{key!r} ({word!r})" for key, word in words.items() if key in numeric or _reads(word)]
    if meant:
        log.warning(
            "%s: texts are no numbers and were not read as properties: %s; write numbers without "
            "quotes", name, ", ".join(meant),
        )  # fmt: skip


def _reads(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _text(value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        return value, "cif" if "_cell_length_a" in value else "json"
    return json.dumps(value), "json"
