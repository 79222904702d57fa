"""What a relaxation is asked for, and what it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyg_crysdiff.data.crystal import Crystal

NAN = math.nan
NUMBERS = ("energy", "energy_before", "max_force", "max_stress", "moved", "volume_change")


@dataclass(frozen=True)
class RelaxSettings:
    """When a relaxation ends.

    Attributes:
        steps: Most evaluations of the energy after the first; 0 leaves the crystal as it is.
        fmax: Largest force on an atom of a relaxed crystal, eV/A.
        smax: Largest absolute component of its stress, GPa. The default is what an ASE cell filter
            with fmax = 0.05 asks of a crystal with 20 A^3 per atom.
        cell: Relax the cell too; without it the stress does not count.
    """

    steps: int = 500
    fmax: float = 0.05
    smax: float = 0.4
    cell: bool = True

    def __post_init__(self) -> None:
        if self.steps < 0 or not (self.fmax > 0 and self.smax > 0):
            raise ValueError(f"steps must be 0 or more, fmax and smax above 0, got {self}")

    @property
    def key(self) -> dict[str, Any]:
        """The settings as plain values; of two that ask for the same the keys are equal."""
        return {"steps": 0} if self.steps == 0 else asdict(self)


@dataclass(frozen=True)
class Relaxation:
    """One crystal and what became of it.

    Attributes:
        crystal: The relaxed crystal, atoms in the order of the input and ``info`` kept; None where
            the relaxation failed.
        energy: Energy after, eV/atom; NaN where unknown.
        energy_before: Energy before, eV/atom; NaN where unknown.
        steps: Evaluations of the energy after the first.
        converged: Whether forces and stress are within the settings.
        max_force: Largest force on an atom, after, eV/A.
        max_stress: Largest absolute component of the stress, after, GPa.
        moved: Root-mean-square distance that the atoms moved, A (:func:`rms_moved`).
        volume_change: Volume after by volume before, less one.
        problem: Why it failed, in one line; empty where it did not.
        judge: Name and version of the weights, ``chgnet 0.3.0``.
    """

    crystal: Crystal | None
    energy: float
    energy_before: float
    steps: int
    converged: bool
    max_force: float
    max_stress: float
    moved: float
    volume_change: float
    problem: str
    judge: str

    @classmethod
    def failed(
        cls, problem: str, judge: str, *, energy_before: float = NAN, steps: int = 0
    ) -> Relaxation:
        """Return the record of a crystal that could not be relaxed."""
        line = " ".join(problem.split()) or "failed without a message"
        return cls(None, NAN, energy_before, steps, False, NAN, NAN, NAN, NAN, line, judge)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; NaN becomes None, ``info`` is left out."""
        out = {name: value for name, value in vars(self).items() if name != "crystal"}
        out |= {name: out[name] if math.isfinite(out[name]) else None for name in NUMBERS}
        out["crystal"] = None
        if self.crystal is not None:
            out["crystal"] = {
                "lattice": self.crystal.lattice.tolist(),
                "frac_coords": self.crystal.frac_coords.tolist(),
                "atomic_numbers": self.crystal.atomic_numbers.tolist(),
            }
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Relaxation:
        """Return the record that :meth:`to_dict` wrote.

        Raises:
            ValueError, TypeError, KeyError: If the values are no such record.
        """
        found = dict(values)
        found |= {name: NAN if found[name] is None else float(found[name]) for name in NUMBERS}
        if (arrays := found["crystal"]) is not None:
            found["crystal"] = Crystal(**arrays)
        return cls(**found)

    def with_info_of(self, crystal: Crystal) -> Relaxation:
        """Return the same record, its crystal with the ``info`` of another."""
        if self.crystal is None:
            return self
        return replace(self, crystal=replace(self.crystal, info=dict(crystal.info)))
