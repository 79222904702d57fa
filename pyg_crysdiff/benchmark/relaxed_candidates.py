"""Candidates of structure prediction after a relaxation with an interatomic potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.relaxation import Judge, RelaxSettings, find_judge, relax

Candidates = Sequence[Sequence[Crystal]]  # first, second, ... candidates, by composition
_TITLES = {"chgnet": "CHGNet", "sevennet": "SevenNet-0"}
_FMAX, _SMAX = 0.1, 0.8  # eV/A, GPa: where candidates are told apart, that is near enough


@dataclass(frozen=True)
class Relaxation:
    """How candidates are relaxed.

    Attributes:
        judge: The potential.
        folder: Output folder of the run.
        settings: When a relaxation ends.
    """

    judge: Judge
    folder: Path
    settings: RelaxSettings

    @classmethod
    def of(cls, settings: Settings) -> Relaxation | None:
        """Return the relaxation that a run asks for; None for none.

        Raises:
            ModuleNotFoundError: If its package is not installed.
        """
        if settings.relax == "none":
            return None
        ends = RelaxSettings(settings.relax_steps, _FMAX, _SMAX)
        return cls(find_judge(settings.relax), settings.out, ends)

    @property
    def title(self) -> str:
        """Name of the potential in tables."""
        return _TITLES.get(self.judge.name, self.judge.title)

    @property
    def steps(self) -> int:
        """Most steps of a relaxation."""
        return self.settings.steps

    def run(
        self, candidates: Candidates, name: str, progress: bool
    ) -> tuple[list[list[Crystal]], NDArray[np.float64], dict[str, Any]]:
        """Relax cell and positions of all candidates, and write them to ``samples/NAME``.

        A candidate that is structurally invalid, or whose relaxation fails, stays as drawn.

        Args:
            candidates: K lists of R candidates.
            name: Name of the folder of structures.
            progress: Show progress.

        Returns:
            The candidates in the same order; their energies (K, R) in eV/atom, NaN for those that
            stayed as drawn; facts for the row.
        """
        flat = [crystal for part in candidates for crystal in part]
        sound = [i for i, crystal in enumerate(flat) if structural_problem(crystal) is None]
        records = relax(
            [flat[i] for i in sound], self.judge, self.settings,
            cache_dir=self.folder / "relaxations", progress=progress,
        )  # fmt: skip
        after, energy = list(flat), np.full(len(flat), np.nan)
        for i, record in zip(sound, records, strict=True):
            if record.crystal is not None:
                after[i], energy[i] = record.crystal, record.energy
        crystals = [
            replace(relaxed, info={**drawn.info, "relaxed_energy": float(x)})
            for drawn, relaxed, x in zip(flat, after, energy, strict=True)
        ]
        write_extxyz(crystals, self.folder / "samples" / name / "samples.extxyz")
        energies = energy.reshape(len(candidates), -1)
        size = energies.shape[1]
        parts = [crystals[k * size : (k + 1) * size] for k in range(len(candidates))]
        facts = {
            "relaxed_with": self.title,
            "relax_steps": self.settings.steps,
            "relax_fmax": self.settings.fmax,
            "left_as_drawn": int(np.isnan(energies).sum()),
        }
        return parts, energies, facts


def lowest(energies: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of each composition's candidate of the lowest energy, (R,).

    Args:
        energies: Energies of K candidates, (K, R), eV/atom; NaN is never chosen where another is
            finite, and the first candidate stands where none is.
    """
    found: NDArray[np.int64] = np.where(np.isnan(energies), np.inf, energies).argmin(0)
    return found
