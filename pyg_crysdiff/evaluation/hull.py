"""Convex hulls of formation energies, and reading the phases of which they are made."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element

from pyg_crysdiff.data.archives import read_file
from pyg_crysdiff.data.crystal import Crystal


class Hull:
    """Convex hulls of formation energies, one per chemical system, made when asked for.

    Args:
        entries: Phases.
    """

    def __init__(self, entries: Sequence[PDEntry]) -> None:
        # Of many phases with one composition only the lowest can touch the hull.
        lowest: dict[str, PDEntry] = {}
        for entry in entries:
            formula = entry.composition.reduced_formula
            other = lowest.get(formula)
            if other is None or entry.energy_per_atom < other.energy_per_atom:
                lowest[formula] = entry
        self._entries = list(lowest.values())
        self._elements = {
            e.composition.elements[0].symbol
            for e in self._entries
            if len(e.composition.elements) == 1
        }
        self._diagrams: dict[frozenset[str], PhaseDiagram] = {}

    def energy_above(self, crystal: Crystal, energy_per_atom: float) -> float:
        """Return the energy above the hull in eV/atom (negative below); NaN where it is unknown."""
        composition = Composition.from_dict(counts(crystal))
        system = frozenset(e.symbol for e in composition.elements)
        if not np.isfinite(energy_per_atom) or not system <= self._elements:
            return float("nan")
        if system not in self._diagrams:
            inside = [
                e for e in self._entries if {x.symbol for x in e.composition.elements} <= system
            ]
            self._diagrams[system] = PhaseDiagram(inside)
        entry = PDEntry(composition, energy_per_atom * composition.num_atoms)
        above = self._diagrams[system].get_e_above_hull(entry, allow_negative=True)
        return float("nan") if above is None else float(above)


def read_entries(path: Path) -> list[PDEntry]:
    """Read a JSON(.gz) list of entries with ``composition`` and ``energy`` (eV per formula given).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or an entry lacks a field or makes no sense; the message
            gives its index.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no hull entries at {path}")
    try:
        items = json.loads(read_file(path))
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(items, list):
        raise ValueError(f"{path} must hold a JSON list of entries, not a {type(items).__name__}")
    if not items:
        raise ValueError(f"{path} holds no entries")
    return [_entry(item, f"{path}, entry {i}") for i, item in enumerate(items)]


def _entry(item: Any, where: str) -> PDEntry:
    """Make one phase, and name what is wrong with it."""
    try:
        composition, energy = Composition(item["composition"]), float(item["energy"])
        atoms = float(composition.num_atoms)
    except Exception as error:  # pymatgen raises many kinds for what is no composition
        raise ValueError(
            f"{where}: needs composition and energy ({type(error).__name__}: {error})"
        ) from error
    if isinstance(item["energy"], bool) or not math.isfinite(energy):
        raise ValueError(f"{where}: the energy {item['energy']!r} is not a finite number")
    amounts = list(composition.values())
    if not (math.isfinite(atoms) and atoms > 0 and all(x > 0 for x in amounts)):
        raise ValueError(f"{where}: the composition {item['composition']!r} has no atoms")
    if not all(isinstance(element, Element) for element in composition.elements):
        raise ValueError(f"{where}: {item['composition']!r} names what is no element")
    return PDEntry(composition, energy)


def counts(crystal: Crystal) -> dict[Any, float]:
    """Return the number of atoms of each element, by symbol."""
    composition = crystal.to_structure().composition
    return {str(element): float(n) for element, n in composition.items()}
