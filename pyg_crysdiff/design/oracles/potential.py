"""A potential as oracle: energies, relaxed or not, and their place above a hull."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pymatgen.core import Composition

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.evaluation.hull import HullFile, composition_of
from pyg_crysdiff.relaxation import (
    Judge,
    Relaxation,
    RelaxSettings,
    find_judge,
    kept_folder,
    relax_in_turn,
)
from pyg_crysdiff.storage import facts_digest, user_path

ENERGY, ABOVE, FORMATION = "energy_per_atom", "e_above_hull", "formation_energy_per_atom"
UNRELAXED = RelaxSettings(steps=0)


class PotentialOracle:
    """A potential that relaxes crystals, many at a time, and tells their energy.

    ``energy_per_atom`` is that of the relaxed crystal, eV/atom. With a hull there are besides
    ``e_above_hull`` (below it: negative) and ``formation_energy_per_atom``, against the lowest
    phase of each element in the hull, eV/atom; a crystal of a chemical system that the hull does
    not know is a failed evaluation then. Relaxations that did not converge within the steps keep
    their numbers, as in :mod:`pyg_crysdiff.evaluation.stability`: the fact ``converged`` says so.

    Every relaxation is kept as it ends, and an answer comes as soon as its relaxation has ended.
    Relaxations run in the workers of the current engine.

    Args:
        judge: Name of a potential (:func:`pyg_crysdiff.relaxation.find_judge`), or a judge.
        hull: Phases of the potential's hull, or their file; None for energies alone.
        settings: When a relaxation ends; None for the defaults; no steps for energies of crystals
            as they are.
        cache_dir: Folder in which results are kept; None for that of all commands.
        num_workers: Processes on the CPU; None for all cores. An engine in charge takes their
            place.
        device: Device of PyTorch.

    Raises:
        ValueError: If there is no such judge, or the hull is of another one.
        FileNotFoundError: If there is no such hull file.
        ModuleNotFoundError: If the package of the judge is missing.
    """

    def __init__(
        self,
        judge: str | Judge,
        hull: HullFile | str | Path | None = None,
        *,
        settings: RelaxSettings | None = None,
        cache_dir: Path | None = None,
        num_workers: int | None = None,
        device: str = "cpu",
    ) -> None:
        self._judge, self._settings = find_judge(judge), settings or RelaxSettings()
        file = HullFile.read(user_path(hull)) if isinstance(hull, str | Path) else hull
        if file is not None and file.judge not in ("", self._judge.title):
            raise ValueError(
                f"the hull is of {file.judge}, and energies of {self._judge.title} cannot be "
                "compared with it: make its own by crysdiff hull"
            )
        self._file, self._hull = file, None if file is None else file.hull()
        self.names = (ENERGY,) if file is None else (ENERGY, ABOVE, FORMATION)
        self.title = self._judge.title
        self._running: dict[str, Any] = {
            "cache_dir": cache_dir, "num_workers": num_workers, "device": device,
        }  # fmt: skip

    @property
    def own_scale(self) -> tuple[str, ...]:
        """Numbers that cannot be compared with those of other potentials, hulls or DFT."""
        return tuple(name for name in (ENERGY, ABOVE) if name in self.names)

    @property
    def identity(self) -> str:
        """Potential and version, when a relaxation ends, and digest of the hull."""
        hull = "no hull" if self._file is None else f"hull {self._hull_digest[:16]}"
        return f"{self._judge.identity} {json.dumps(self._settings.key)} {hull}"

    @property
    def _hull_digest(self) -> str:
        assert self._file is not None
        phases = [[dict(p.composition), p.energy] for p in self._file.phases]
        return self._file.digest or facts_digest(phases)

    def ask(self, crystals: Mapping[str, Crystal]) -> Iterator[tuple[str, Answer]]:
        """See :class:`pyg_crysdiff.design.Oracle`."""
        keys, running = list(crystals), dict(self._running)
        running["cache_dir"] = running["cache_dir"] or kept_folder()
        for place, record in relax_in_turn(
            list(crystals.values()), self._judge, self._settings, **running
        ):
            yield keys[place], self._answer(crystals[keys[place]], record)

    def _answer(self, crystal: Crystal, record: Relaxation) -> Answer:
        facts: dict[str, Any] = {
            "judge": record.judge, "scheme": self._judge.scheme, "settings": self._settings.key,
            "steps": record.steps,
        }  # fmt: skip
        if self._file is not None:
            facts["hull"] = self._hull_digest
        if record.problem or not math.isfinite(record.energy):
            return Answer.failed(record.problem or "the potential gave no energy", **facts)
        plain = record.to_dict()
        named = ("converged", "moved", "volume_change", "max_force", "max_stress", "energy_before")
        facts |= {name: plain[name] for name in named}
        values = {ENERGY: record.energy}
        if self._hull is not None:
            values |= self._above(crystal, record.energy)
            if not math.isfinite(values[ABOVE]):
                system = "-".join(sorted(e.symbol for e in composition_of(crystal).elements))
                return Answer.failed(
                    f"the hull does not know {system}", **facts, energy_per_atom=record.energy
                )
        relaxed = record.crystal if self._settings.steps else None
        return Answer(values, crystal=relaxed, facts=facts)

    def _above(self, crystal: Crystal, energy: float) -> dict[str, float]:
        """Return the energies against the hull and against the elements, eV/atom."""
        assert self._hull is not None
        amounts = composition_of(crystal)
        elements = sum(
            amounts.get_atomic_fraction(e) * self._hull.energy_at(Composition({e: 1}))
            for e in amounts.elements
        )
        return {ABOVE: self._hull.energy_above(crystal, energy), FORMATION: energy - elements}
