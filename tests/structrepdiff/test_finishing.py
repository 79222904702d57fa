"""Symmetry at the end of a reconstruction, where the representation allows it."""

from dataclasses import replace

import numpy as np
import pytest
import spglib
import torch

from pyg_crysdiff.structrepdiff.finishing import finished
from pyg_crysdiff.structrepdiff.objective import Objective
from pyg_crysdiff.structrepdiff.reconstruction import Reconstruction, Reconstructor
from pyg_crysdiff.structrepdiff.search import Search
from tests.structrepdiff.test_search import (
    CUBIC,
    EAD,
    QUICK,
    ROCK_SALT,
    descriptor,
    frame,
    walkers_at,
)

SNAP = replace(QUICK, snap=0.4, snap_slack=0.15)


def found(x):
    return Reconstruction(np.asarray(x), loss=0.1, evaluations=7)


def number(crystal):
    cell = (crystal.lattice, crystal.frac_coords, crystal.atomic_numbers)
    return spglib.get_symmetry_dataset(cell, symprec=1e-4).number


def test_losses_are_those_of_the_objective(rng):
    moved = CUBIC.frac_coords + 0.02 * rng.standard_normal((5, 3))
    pooled = torch.cat([descriptor(CUBIC), descriptor(CUBIC)])
    losses = Reconstructor(EAD, QUICK).losses(
        [frame(CUBIC, 1.95)] * 2, [moved, CUBIC.frac_coords], pooled
    )
    objective = Objective(EAD, 8.0)
    walkers = walkers_at(moved, CUBIC.frac_coords)
    objective.start(walkers)
    expected = objective.loss(walkers, objective.target(pooled[:1].double()))
    assert losses == pytest.approx(expected.tolist(), abs=1e-4)
    assert losses[0] > 0.01 > losses[1]


def test_noise_is_taken_for_noise_and_a_distortion_for_a_distortion(rng):
    """Sites that fit no better than symmetric ones move there; those that do fit better stay."""
    off = 0.02 * rng.uniform(-1, 1, (5, 3))
    distorted = replace(CUBIC, frac_coords=CUBIC.frac_coords + 2 * off)
    noise = 1 + 0.05 * torch.randn(2 * EAD.dim, generator=torch.Generator().manual_seed(0))
    pooled = torch.cat([descriptor(CUBIC) * noise, descriptor(distorted), descriptor(ROCK_SALT)])
    frames = [frame(CUBIC, 1.9), frame(CUBIC, 1.9), frame(ROCK_SALT)]
    places = [CUBIC.frac_coords + off, distorted.frac_coords, ROCK_SALT.frac_coords]
    reconstructor = Reconstructor(EAD, SNAP)
    ends = finished(reconstructor, frames, [found(x) for x in places], pooled)
    assert number(ends[0]) == 221
    np.testing.assert_array_equal(ends[1].frac_coords, places[1])
    assert number(ends[2]) == 225
    before = reconstructor.losses(frames, places, pooled)
    for end, start, wanted, limit in zip(ends, frames, pooled, before, strict=True):
        if end is not ends[1]:
            now = replace(start, lattice=end.lattice)
            again = reconstructor.losses([now], [end.frac_coords], wanted[None])
            assert end.info["reconstruction_loss"] == pytest.approx(again[0], abs=1e-6)
            assert again[0] <= 1.15 * limit + 1e-3


def test_no_structures_have_no_losses():
    assert Reconstructor(EAD, QUICK).losses([], [], descriptor(CUBIC)[:0]) == []


def test_without_a_tolerance_nothing_moves(rng):
    x = CUBIC.frac_coords + 0.01 * rng.standard_normal((5, 3))
    off = Reconstructor(EAD, replace(SNAP, snap=0.0))
    (crystal,) = finished(off, [frame(CUBIC)], [found(x)], descriptor(CUBIC))
    np.testing.assert_array_equal(crystal.lattice, CUBIC.lattice)
    np.testing.assert_array_equal(crystal.frac_coords, x)
    assert crystal.info == {"reconstruction_loss": 0.1, "reconstructed": False, "evaluations": 7}
    with pytest.raises(ValueError, match="must not be negative"):
        Search(snap=-1.0)
