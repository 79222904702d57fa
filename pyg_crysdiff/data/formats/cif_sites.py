"""The sites that a CIF block lists, and the marks by which a site is no whole atom."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.formats.cif_text import Block
from pyg_crysdiff.data.formats.species import atomic_number, number_of_label

SAME_PLACE = 1e-4  # difference of fractional coordinates, as in pymatgen
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\(\d*\))?")
_FULL = 1e-3  # how far from 1 an occupancy is still full


@dataclass
class Sites:
    """The listed sites: labels, atomic numbers (n,), fractional coordinates (n, 3)."""

    labels: list[str]
    numbers: NDArray[np.int64]
    frac_coords: NDArray[np.float64]


def number(text: str, what: str) -> float:
    """Return a number without its uncertainty.

    Raises:
        ValueError: If it is unknown (``.``, ``?``) or none.
    """
    found = _NUMBER.fullmatch(text.strip())
    if found is None or not math.isfinite(float(found[1])):
        raise ValueError(f"{what} is {text.strip()[:40]!r}, not a number")
    return float(found[1])


def listed_sites(block: Block, formula: Counter[str] | None) -> Sites:
    """Return the sites of the loop of atoms.

    Args:
        block: The CIF block.
        formula: Atoms of the stated formula, which tell labels such as ``Co`` and ``C`` apart.

    Raises:
        ValueError: If there are none, a value is missing or no number, or a site is no atom that
            is there for certain: a dummy, disorder, implicit hydrogens.
    """
    columns = [block.column(f"_atom_site_fract_{axis}") for axis in "xyz"]
    if any(column is None for column in columns):
        if block.column("_atom_site_cartn_x"):
            raise ValueError(
                "the sites have Cartesian coordinates only; save them as fractional coordinates "
                "(_atom_site_fract_x, _y, _z)"
            )
        raise ValueError("the sites have no fractional coordinates (_atom_site_fract_x, _y, _z)")
    count = len(columns[0] or ())
    if count == 0:
        raise ValueError("the loop of atom sites has no rows: no atoms")
    labels = block.column("_atom_site_label") or block.column("_atom_site_type_symbol")
    symbols = block.column("_atom_site_type_symbol")
    if labels is None or any(len(c or ()) != count for c in (*columns, labels, symbols or labels)):
        raise ValueError("the atom sites have no labels, or stand in loops of different lengths")
    _check_dummies(block, labels)
    _check_occupancies(block, labels)
    _check_groups(block, labels)
    _check_hydrogens(block, labels)
    numbers = [
        _number_of(label, symbols[i] if symbols else "", formula) for i, label in enumerate(labels)
    ]
    coords = [
        [_coordinate((column or [])[i], labels[i]) for column in columns] for i in range(count)
    ]
    return Sites(labels, np.array(numbers), np.array(coords))


def _number_of(label: str, symbol: str, formula: Counter[str] | None) -> int:
    if symbol.strip() in ("", ".", "?"):
        return number_of_label(label, formula or ())
    return atomic_number(symbol)


def _coordinate(text: str, label: str) -> float:
    value = number(text, f"a coordinate of site {label}")
    for ideal in (1 / 3, 2 / 3):
        if math.isclose(value / ideal, 1, abs_tol=SAME_PLACE, rel_tol=0):
            return ideal
    return value


def _check_occupancies(block: Block, labels: list[str]) -> None:
    """An occupancy that is not stated (``.``, ``?``) is 1, as the dictionary of CIF says."""
    for label, text in zip(labels, block.column("_atom_site_occupancy") or (), strict=False):
        if text.strip() in (".", "?"):
            continue
        value = number(text, f"the occupancy of site {label}")
        if abs(value - 1) > _FULL:
            raise ValueError(f"disordered: the occupancy of site {label} is {value:g}, not 1")


def _check_dummies(block: Block, labels: list[str]) -> None:
    for label, text in zip(labels, block.column("_atom_site_calc_flag") or (), strict=False):
        if text.strip().lower() == "dum":
            raise ValueError(
                f"site {label} is a dummy (_atom_site_calc_flag dum), no atom; remove its line"
            )


def _check_groups(block: Block, labels: list[str]) -> None:
    """Refuse sites of which one or the other is there, whatever their occupancies say.

    The groups of an assembly exclude each other; a negative one excludes its own images.
    """
    groups = block.column("_atom_site_disorder_group") or ()
    assemblies = block.column("_atom_site_disorder_assembly") or [""] * len(labels)
    first: dict[str, tuple[str, str]] = {}
    for label, group, assembly in zip(labels, groups, assemblies, strict=False):
        name = group.strip()
        if name in ("", ".", "?", "0"):
            continue
        other, before = first.setdefault(assembly.strip(), (label, name))
        if before != name:
            raise ValueError(
                f"disordered: the sites {other} and {label} are in the disorder groups {before} "
                f"and {name}; keep the sites of one group"
            )
        if name.startswith("-"):
            raise ValueError(
                f"disordered: site {label} is in the disorder group {name}, which excludes its "
                "images"
            )


def _check_hydrogens(block: Block, labels: list[str]) -> None:
    for label, text in zip(
        labels, block.column("_atom_site_attached_hydrogens") or (), strict=False
    ):
        if text.strip() not in (".", "?", "0"):
            raise ValueError(f"site {label} has {text} implicit hydrogens without coordinates")
