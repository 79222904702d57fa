"""Distances by matrix products against those pair by pair."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pyg_crysdiff.evaluation import distances
from pyg_crysdiff.evaluation.distances import Distances


def compare(rows, others, cutoffs):
    block, true = Distances(others).from_rows(rows), cdist(rows, others)
    assert np.abs(block.squares - true**2).max() <= block.error + 1e-14 * (true**2).max()
    for axis in (0, 1):
        assert block.nearest(axis) == pytest.approx(true.min(axis), rel=1e-14, abs=1e-300)
    for cutoff in cutoffs:
        assert (block.within(cutoff) == (true <= cutoff)).all()
    return block, true


def test_random_vectors(rng):
    block, true = compare(rng.random((70, 61)), rng.random((90, 61)), (2.8, 3.2, 99.0))
    assert 0 < block.error <= 1e-9
    assert 0.02 < (true <= 3.2).mean() < 0.98


def test_a_distance_at_the_cutoff_counts_as_pair_by_pair(rng):
    """On a grid many distances are the cutoff itself, which products miss by their rounding."""
    rows, others = (rng.integers(0, 5, (60, 3)) + 100.3 for _ in range(2))
    block, true = Distances(others).from_rows(rows), cdist(rows, others)
    cutoff = 3.0
    tied = np.abs(true - cutoff) < 1e-9
    assert tied.sum() > 50
    naive = block.squares <= cutoff**2
    assert (naive != (true <= cutoff)).any()
    assert (block.within(cutoff) == (true <= cutoff)).all()


def test_copies_are_at_distance_zero(rng):
    rows = 10 * rng.random((50, 132))
    block, _ = compare(rows, rows[::-1].copy(), (0.0, 1e-7))
    assert (block.nearest(1) == 0).all()
    assert block.within(0.0).sum() == 50


def test_what_products_round_too_much_is_computed_pair_by_pair(rng):
    """One far vector would blur all others."""
    others = rng.random((40, 61))
    others[3] += 1e9
    block, _ = compare(rng.random((30, 61)), others, (2.0, 3.0))
    assert block.error == 0


def test_products_are_used(rng, monkeypatch):
    monkeypatch.setattr(distances, "cdist", None)
    Distances(rng.random((9, 61))).from_rows(rng.random((7, 61))).nearest(0)


@pytest.mark.parametrize(("rows", "others"), [(0, 3), (3, 0)])
def test_no_vectors(rows, others):
    block = Distances(np.zeros((others, 4))).from_rows(np.zeros((rows, 4)))
    assert block.within(1.0).shape == (rows, others)
