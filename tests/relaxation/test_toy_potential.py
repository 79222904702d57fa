"""The toy potential: its derivatives against finite differences of its energy."""

import numpy as np
import pytest

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.geometry import stepped
from pyg_crysdiff.testing.potential import PairCalculator, pair_point
from tests.conftest import make_crystal

STEP = 1e-4


@pytest.fixture
def crystal(rng) -> Crystal:
    return make_crystal(rng, 4)


def slope(crystal: Crystal, move: np.ndarray, strain: np.ndarray) -> float:
    ends = [pair_point(stepped(crystal, s * move, s * strain)).energy for s in (-STEP, STEP)]
    return (ends[1] - ends[0]) / (2 * STEP)


def test_forces_are_the_derivative_by_the_positions(crystal):
    point = pair_point(crystal)
    for atom in range(len(crystal)):
        for axis in range(3):
            move = np.zeros((len(crystal), 3))
            move[atom, axis] = 1
            assert slope(crystal, move, np.zeros((3, 3))) == pytest.approx(
                -point.forces[atom, axis], rel=1e-6, abs=1e-6
            )


def test_stress_is_the_derivative_by_the_strain(crystal):
    point = pair_point(crystal)
    still = np.zeros((len(crystal), 3))
    for i in range(3):
        for j in range(3):
            strain = np.zeros((3, 3))
            strain[i, j] += 0.5
            strain[j, i] += 0.5
            assert slope(crystal, still, strain) / crystal.volume == pytest.approx(
                point.stress[i, j], rel=1e-6, abs=1e-7
            )


def test_the_calculator_says_the_same(crystal):
    atoms = crystal.to_ase()
    atoms.calc = PairCalculator()
    point = pair_point(crystal)
    assert atoms.get_potential_energy() == pytest.approx(point.energy)
    assert np.allclose(atoms.get_forces(), point.forces)
    assert np.allclose(atoms.get_stress(voigt=False), point.stress)
