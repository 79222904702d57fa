"""A toy potential, with which relaxations are tested quickly and without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.judges import Judge
from pyg_crysdiff.relaxation.neighbours import find_neighbours
from pyg_crysdiff.relaxation.potentials import Point

DEPTH, STEEPNESS = 0.4, 1.5  # eV, 1/A
_CUTOFF = 6.0  # A


class PairPotential:
    """Morse pairs that end smoothly at 6 A.

    The energy of a pair at distance r is D ((1 - exp(-a (r - r0)))^2 - 1) (1 - (r / 6 A)^2)^3 with
    D = 0.4 eV, a = 1.5 / A and r0 the mean of the atoms' sizes, 2.4 A + 0.01 A Z.

    Args:
        device: Not used.
    """

    def __init__(self, device: str = "cpu") -> None:
        del device

    def __call__(self, crystals: Sequence[Crystal]) -> list[Point]:
        """Return energy, forces and stress of crystals."""
        return [pair_point(crystal) for crystal in crystals]


def pair_point(crystal: Crystal) -> Point:
    """Return a crystal's energy, forces and stress of :class:`PairPotential`."""
    near = find_neighbours(crystal, _CUTOFF)
    vectors = near.vectors(crystal)
    size = 2.4 + 0.01 * crystal.atomic_numbers
    energy, slope = _pairs(near.length, (size[near.center] + size[near.other]) / 2)
    pulls = slope[:, None] * vectors / near.length[:, None]
    forces = np.zeros((len(crystal), 3))
    np.add.at(forces, near.center, pulls)
    stress = np.einsum("ei,ej->ij", pulls, vectors) / (2 * crystal.volume)
    return Point(float(energy.sum() / 2), forces, stress)


def _pairs(
    length: NDArray[np.float64], best: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return energy and slope of pairs."""
    decay = np.exp(-STEEPNESS * (length - best))
    well = DEPTH * ((1 - decay) ** 2 - 1)
    well_slope = 2 * DEPTH * STEEPNESS * (1 - decay) * decay
    left = 1 - (length / _CUTOFF) ** 2
    end_slope = -6 * left**2 * length / _CUTOFF**2
    return well * left**3, well_slope * left**3 + well * end_slope


def toy_judge() -> Judge:
    """Return the judge of :class:`PairPotential`, which knows hydrogen to plutonium."""
    return Judge("toy", "1", f"{__name__}:PairPotential", frozenset(range(1, 95)), scheme="none")


class PairCalculator(Calculator):
    """:class:`PairPotential` as a calculator of ASE.

    As a judge: ``ase:pyg_crysdiff.testing.potential.PairCalculator``.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def calculate(
        self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        """Compute all properties."""
        super().calculate(atoms, properties, system_changes)
        point = pair_point(Crystal.from_ase(self.atoms))
        voigt = point.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        self.results = {
            "energy": point.energy, "free_energy": point.energy, "forces": point.forces,
            "stress": voigt,
        }  # fmt: skip
