"""Any calculator of ASE as a potential, one crystal at a time."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.potentials import Point


class CalculatorPotential:
    """A calculator.

    Args:
        path: ``module.Class`` of a calculator that needs no arguments.
        device: Not used: the calculator chooses where it computes.
    """

    def __init__(self, path: str, device: str = "cpu") -> None:
        del device
        module, _, name = path.rpartition(".")
        self.calculator: Any = getattr(import_module(module), name)()

    def __call__(self, crystals: Sequence[Crystal]) -> list[Point]:
        """Return energy, forces and stress of crystals."""
        return [self._point(crystal) for crystal in crystals]

    def _point(self, crystal: Crystal) -> Point:
        atoms = crystal.to_ase()
        atoms.calc = self.calculator
        return Point(
            float(atoms.get_potential_energy()),
            np.asarray(atoms.get_forces(), dtype=np.float64),
            np.asarray(atoms.get_stress(voigt=False), dtype=np.float64),
        )
