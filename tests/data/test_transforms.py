"""Transforms of PyG data."""

import pytest

from pyg_crysdiff.data import FullyConnected
from tests.conftest import make_crystal


def test_fully_connected_graph(rng):
    data = make_crystal(rng, 4).to_data()
    with pytest.deprecated_call(match="cartesian_prod"):
        without, with_loops = FullyConnected(), FullyConnected(loops=True)
    assert without(data.clone()).edge_index.shape == (2, 12)
    edges = with_loops(data).edge_index
    assert len({tuple(e) for e in edges.t().tolist()}) == 16
