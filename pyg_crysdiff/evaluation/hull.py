"""Convex hulls of formation energies, and the files of phases of which they are made."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition, Element
from scipy.optimize import linprog

from pyg_crysdiff.data.archives import read_file
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.storage import file_digest, replacing

_MOST_LISTED = 10  # elements of a system whose subsystems are listed; more are searched for
_MOST_ELEMENTS = 7  # of a system whose whole hull is made
_FACTS = ("judge", "settings", "scheme", "source")


class Hull:
    """Convex hulls of formation energies, one per chemical system, made when asked for.

    The hull of a system is that of pymatgen's ``PhaseDiagram`` over the phases of the system and
    all its subsystems. A crystal that is placed above it is not part of it.

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
        self._by_system: dict[frozenset[str], list[PDEntry]] = defaultdict(list)
        for entry in lowest.values():
            self._by_system[_system(entry.composition)].append(entry)
        self._diagrams: dict[frozenset[str], PhaseDiagram] = {}

    def knows(self, system: frozenset[str]) -> bool:
        """Whether every element of a chemical system has a phase of its own."""
        return bool(system) and all(frozenset([symbol]) in self._by_system for symbol in system)

    def energy_at(self, composition: Composition) -> float:
        """Return the energy of the hull at a composition in eV/atom; NaN where it is unknown."""
        system = _system(composition)
        if not self.knows(system):
            return float("nan")
        if len(system) > _MOST_ELEMENTS:
            return _lowest_mixture(self._inside(system), composition)
        if system not in self._diagrams:
            self._diagrams[system] = PhaseDiagram(self._inside(system))
        return float(self._diagrams[system].get_hull_energy_per_atom(composition))

    def energy_above(self, crystal: Crystal, energy_per_atom: float) -> float:
        """Return the energy above the hull in eV/atom (negative below); NaN where it is unknown."""
        if not np.isfinite(energy_per_atom):
            return float("nan")
        return float(energy_per_atom) - self.energy_at(composition_of(crystal))

    def _inside(self, system: frozenset[str]) -> list[PDEntry]:
        """Return the phases of a system and of all its subsystems."""
        if len(system) > _MOST_LISTED:
            parts = [part for part in self._by_system if part <= system]
        else:
            sizes = range(1, len(system) + 1)
            parts = [frozenset(p) for n in sizes for p in combinations(sorted(system), n)]
        return [entry for part in parts for entry in self._by_system.get(part, ())]


def _lowest_mixture(entries: Sequence[PDEntry], composition: Composition) -> float:
    """Return the energy of the hull at one composition, eV/atom, by linear programming.

    A whole hull takes a time that grows exponentially with the number of elements; this does not.
    """
    elements = list(composition.elements)
    shares = np.array([[e.composition.get_atomic_fraction(x) for e in entries] for x in elements])
    wanted = np.array([composition.get_atomic_fraction(x) for x in elements])
    energies = np.array([entry.energy_per_atom for entry in entries])
    return float(linprog(energies, A_eq=shares, b_eq=wanted).fun)


@dataclass(frozen=True)
class Phase:
    """A known crystal with its energies by a judge.

    Attributes:
        composition: Atoms of the cell by element symbol.
        energy: Energy of the cell after relaxation, eV.
        energy_unrelaxed: Energy of the cell as it was, eV; NaN where unknown.
        id: Identifier; may be empty.
    """

    composition: Mapping[str, float]
    energy: float
    energy_unrelaxed: float = math.nan
    id: str = ""

    def entry(self, relaxed: bool = True) -> PDEntry:
        """Return the phase for a hull."""
        energy = self.energy if relaxed else self.energy_unrelaxed
        return PDEntry(Composition(self.composition), energy)


@dataclass(frozen=True)
class HullFile:
    """Phases of a hull and who says what they are worth.

    Attributes:
        phases: Known crystals with their energies.
        judge: Name and version of the potential, ``chgnet 0.3.0``; empty where the file does not
            say, as a plain list of pymatgen entries.
        settings: How the phases were relaxed, as ``RelaxSettings.key``; empty likewise.
        scheme: Energy correction scheme, in the words of the file.
        source: Which crystals these are.
        facts: Anything else that the file says: numbers of failed and unconverged relaxations,
            limits of the choice.
        digest: SHA-256 of the file; empty where the phases come from no file.
    """

    phases: Sequence[Phase]
    judge: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    scheme: str = ""
    source: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def hull(self, relaxed: bool = True) -> Hull:
        """Return the hull of the phases, after their relaxation or as they were."""
        entries = [phase.entry(relaxed) for phase in self.phases]
        return Hull([e for e in entries if math.isfinite(e.energy)])

    def with_facts(self, **more: Any) -> HullFile:
        """Return the same file with more facts."""
        return replace(self, facts={**self.facts, **more})

    def write(self, path: str | Path) -> None:
        """Write the file, whole or not at all; compressed where its name ends in ``.gz``."""
        said = {name: getattr(self, name) for name in _FACTS}
        content = {**self.facts, **said, "entries": [_plain(phase) for phase in self.phases]}
        text = json.dumps(content, allow_nan=False).encode()
        with replacing(path) as temporary:
            # Without a time in it the same hull is the same file.
            packed = gzip.compress(text, mtime=0) if str(path).endswith(".gz") else text
            temporary.write_bytes(packed)

    @classmethod
    def read(cls, path: str | Path) -> HullFile:
        """Read what :meth:`write` wrote, or a JSON(.gz) list of pymatgen entries.

        Entries have ``composition`` and ``energy`` (eV per formula given), and where they are
        ``ComputedEntry`` a ``correction``, which is added. ``{"scheme": "MP2020", "entries":
        [...]}`` names the energy scale of a list.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or an entry lacks a field or makes no sense; the message
                gives its index.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no hull entries at {path}")
        try:
            content = json.loads(read_file(path))
        except (ValueError, OSError, RecursionError) as error:
            raise ValueError(f"{path} is not valid JSON ({error})") from error
        said = content if isinstance(content, dict) and "entries" in content else {}
        items = said.get("entries", content)
        if not isinstance(items, list):
            raise ValueError(
                f"{path} must hold a JSON list of entries, not a {type(items).__name__}"
            )
        if not items and not said.get("judge"):  # a judge may fail at all known crystals
            raise ValueError(f"{path} holds no entries")
        phases = [_phase(item, f"{path}, entry {i}") for i, item in enumerate(items)]
        facts = {key: value for key, value in said.items() if key not in (*_FACTS, "entries")}
        words = {key: said.get(key) or "" for key in ("judge", "scheme", "source")}
        settings = said.get("settings") or {}
        if not isinstance(settings, dict) or not all(isinstance(w, str) for w in words.values()):
            raise ValueError(f"{path}: judge, scheme and source must be texts, settings an object")
        return cls(phases, settings=settings, facts=facts, digest=file_digest(path), **words)


def read_entries(path: Path) -> list[PDEntry]:
    """Read the phases of a hull file, or of a JSON(.gz) list of pymatgen entries.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged; see :meth:`HullFile.read`.
    """
    return [phase.entry() for phase in HullFile.read(path).phases]


def _phase(item: Any, where: str) -> Phase:
    """Make one phase, and name what is wrong with it."""
    try:
        composition = Composition(item["composition"])
        # pymatgen's ComputedEntry writes its energy without the correction, and this beside it.
        energy = float(item["energy"]) + float(item.get("correction") or 0.0)
        atoms = float(composition.num_atoms)
        before = item.get("energy_unrelaxed")
        unrelaxed = math.nan if before is None else float(before)
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
    name = item.get("id", item.get("entry_id"))
    symbols = {element.symbol: float(n) for element, n in composition.items()}
    return Phase(symbols, energy, unrelaxed, "" if name is None else str(name))


def _plain(phase: Phase) -> dict[str, Any]:
    """Return what a hull file says of a phase."""
    before = phase.energy_unrelaxed
    return {
        "composition": dict(phase.composition),
        "energy": phase.energy,
        "id": phase.id,
        "energy_unrelaxed": before if math.isfinite(before) else None,
    }


def _system(composition: Composition) -> frozenset[str]:
    return frozenset(element.symbol for element in composition.elements)


def composition_of(crystal: Crystal) -> Composition:
    """Return the atoms of a cell by element."""
    numbers, amounts = np.unique(crystal.atomic_numbers, return_counts=True)
    pairs = zip(numbers.tolist(), amounts.tolist(), strict=True)
    return Composition({Element.from_Z(z).symbol: n for z, n in pairs})


def counts(crystal: Crystal) -> dict[str, float]:
    """Return the number of atoms of each element, by symbol."""
    return {element.symbol: float(n) for element, n in composition_of(crystal).items()}
