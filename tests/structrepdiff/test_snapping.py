"""Generated cells and sites that are repaired."""

import numpy as np
import pytest
import spglib

from pyg_crysdiff.structrepdiff.representation import lattice_matrix
from pyg_crysdiff.structrepdiff.snapping import snapped, symmetric_cell
from pyg_crysdiff.structrepdiff.symmetry import compatible_groups

PEROVSKITE = np.array([[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0]])
NUMBERS = np.array([8, 8, 8, 22, 38])


@pytest.mark.parametrize(
    ("noisy", "ideal"),
    [
        ((3.93, 3.90, 3.87, 90.4, 89.7, 90.2), "cubic"),
        ((3.00, 3.03, 5.10, 90.2, 89.9, 119.6), "hexagonal"),
        ((3.00, 3.02, 2.99, 60.3, 59.8, 60.1), "face-centred"),
    ],
)
def test_a_nearly_symmetric_cell_becomes_symmetric(noisy, ideal):
    lattice = lattice_matrix(np.array(noisy))
    found = symmetric_cell(lattice, 0.04)
    lengths, gram = np.linalg.norm(found, axis=1), found @ found.T
    cosines = gram / np.outer(lengths, lengths)
    assert np.linalg.det(found) == pytest.approx(np.linalg.det(lattice), rel=1e-9)
    if ideal != "hexagonal":
        np.testing.assert_allclose(lengths, lengths.mean(), rtol=1e-9)
    off = {"cubic": (0, 0, 0), "hexagonal": (-0.5, 0, 0), "face-centred": (0.5, 0.5, 0.5)}[ideal]
    np.testing.assert_allclose((cosines[0, 1], cosines[0, 2], cosines[1, 2]), off, atol=1e-9)
    # The axes stay: each is near what it was.
    np.testing.assert_allclose(lengths, np.linalg.norm(lattice, axis=1), rtol=0.03)
    assert len(compatible_groups(found, 1e-6)) > len(compatible_groups(lattice, 1e-6))


def test_a_cell_without_near_symmetry_stays():
    skewed = np.array([[3.0, 0, 0], [0.7, 4.1, 0], [1.1, 0.9, 5.3]])
    assert symmetric_cell(skewed, 0.04) is skewed
    strained = np.diag([3.0, 3.3, 3.6])
    assert symmetric_cell(strained, 0.02) == pytest.approx(strained)


def test_sites_move_to_where_the_space_group_has_them(rng):
    lattice = 3.9 * np.eye(3) + 0.02 * rng.standard_normal((3, 3))
    x = PEROVSKITE + 0.03 * rng.uniform(-1, 1, (5, 3)) / 3.9 + rng.random(3)
    cell, sites, order = snapped(lattice, x, NUMBERS, 0.2)
    assert order == 48
    assert spglib.get_symmetry_dataset((lattice, x, NUMBERS), symprec=1e-4).number == 1
    assert spglib.get_symmetry_dataset((cell, sites, NUMBERS), symprec=1e-5).number == 221
    moved = sites - x
    moved -= np.rint(moved)
    assert 0 < np.linalg.norm(moved @ lattice, axis=1).max() < 0.2
    np.testing.assert_allclose(np.linalg.det(cell), abs(np.linalg.det(lattice)), rtol=0.02)


def test_sites_without_symmetry_stay(rng):
    lattice, x = np.diag([4.0, 5.1, 6.3]), rng.random((5, 3))
    cell, sites, order = snapped(lattice, x, NUMBERS, 0.05)
    assert cell is lattice
    assert order == 1
    assert sites is x
    # An exact crystal stays where it is.
    cell, sites, _ = snapped(3.9 * np.eye(3), PEROVSKITE, NUMBERS, 0.1)
    np.testing.assert_allclose(sites, PEROVSKITE, atol=1e-9)
    np.testing.assert_allclose(cell, 3.9 * np.eye(3), atol=1e-9)
