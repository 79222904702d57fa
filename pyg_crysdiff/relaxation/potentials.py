"""What every potential gives: energy, forces and stress of some crystals at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal

GPA = 1 / 160.21766208  # eV/A^3


@dataclass(frozen=True)
class Point:
    """A crystal's place on the energy surface.

    Attributes:
        energy: Energy of the cell, eV.
        forces: Forces on the atoms, (N, 3), eV/A.
        stress: Derivative of the energy by a strain of the cell, divided by the volume, (3, 3),
            eV/A^3; negative under pressure, as in ASE.
    """

    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are finite."""
        parts = (self.forces, self.stress, np.array(self.energy))
        return all(bool(np.isfinite(part).all()) for part in parts)


class Potential(Protocol):
    """An energy model, loaded and ready."""

    def __call__(self, crystals: Sequence[Crystal]) -> list[Point]:
        """Return energy, forces and stress of right-handed crystals, all in one batch.

        Raises:
            Exception: Whatever the model raises where one of the crystals is not to be computed;
                the caller then tries them in smaller batches.
        """
        ...
