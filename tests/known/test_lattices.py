"""The refusal by lattices against pymatgen's own search, on lattices of every shape."""

import numpy as np
import pytest
from pymatgen.core import Lattice

from pyg_crysdiff.known.lattices import ANGLE_TOL, LTOL, ScaledLattice


def maps(first: np.ndarray, second: np.ndarray) -> bool:
    """What the matcher asks: is a cell of the first lattice near the second one's?"""
    scale = (abs(np.linalg.det(second)) / abs(np.linalg.det(first))) ** (1 / 6)
    found = Lattice(first * scale).find_all_mappings(
        Lattice(second / scale), ltol=LTOL, atol=ANGLE_TOL, skip_rotation_matrix=True
    )
    return any(abs(abs(np.linalg.det(m)) - 1) <= 0.5 for _, _, m in found)


def cells(shape: str, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Pairs of cells one after the other; half of the pairs are near each other."""
    out = []
    for k in range(count):
        a = np.eye(3) + rng.normal(0, 0.2, (3, 3))
        if shape == "long":
            a = np.diag([1.0, 1.0, rng.uniform(3, 9)]) @ a
        if shape == "skewed":
            a = np.array([[1, 0, 0], [rng.integers(0, 3), 1, 0], [1, rng.integers(0, 3), 1]]) @ a
        if shape == "left-handed":
            a = np.diag([1.0, 1.0, -1.0]) @ a
        b = a @ (np.eye(3) + rng.normal(0, 0.08, (3, 3)))
        if k % 2:
            b = np.diag(rng.uniform(0.5, 1.8, 3)) @ b
        out += [
            rng.uniform(1, 9) * a,
            rng.uniform(1, 9) * b @ np.linalg.qr(rng.normal(size=(3, 3)))[0],
        ]
    return out


@pytest.mark.parametrize("shape", ["plain", "long", "skewed", "left-handed"])
def test_no_lattice_is_refused_that_pymatgen_maps(shape):
    rng = np.random.default_rng(0)
    pairs = cells(shape, 150, rng)
    scaled = [ScaledLattice(cell) for cell in pairs]
    mapped = refused = 0
    for i in range(0, len(pairs), 2):
        for j, k in ((i, i + 1), (i + 1, i), (i, (i + 7) % len(pairs))):
            expected, may = maps(pairs[j], pairs[k]), scaled[j].may_become(scaled[k])
            assert may or not expected
            mapped, refused = mapped + expected, refused + (not may)
    assert mapped > 30
    assert refused > 100


def test_what_is_out_of_reach_is_left_to_pymatgen():
    needle, cube = ScaledLattice(np.diag([1.0, 1.0, 1000.0])), ScaledLattice(np.eye(3))
    assert cube.may_become(needle)
    assert not needle.may_become(cube)
