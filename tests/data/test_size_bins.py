"""p(N | y): sizes of training crystals near a value."""

import json

import numpy as np
import pytest

from pyg_crysdiff.data.size_bins import SizeBins
from pyg_crysdiff.data.statistics import DataStatistics, PropertyStatistics


def statistics_of(properties: dict[str, PropertyStatistics], num_atoms: dict[int, int]):
    return DataStatistics((1,), num_atoms, 1.0, 1.0, 9.0, 9.0, properties, sum(num_atoms.values()))


def test_the_kernel_is_that_of_the_values_themselves(rng):
    values = rng.normal(size=3_000)
    sizes = np.where(values + 0.3 * rng.normal(size=3_000) > 0.5, 8, 4) + rng.integers(0, 2, 3_000)
    bins = SizeBins.from_values(values, sizes)
    assert 0.01 <= bins.bandwidth / values.std() <= 0.32
    for y in (-2.0, 0.0, 0.5, 1.5):
        weights = np.exp(-0.5 * ((values - y) / bins.bandwidth) ** 2)
        for n, share in bins.near(y).items():
            exact = weights[sizes == n].sum() / weights.sum()
            assert share == pytest.approx(exact, abs=0.04)  # bins are half of the bandwidth wide


def test_the_width_follows_how_fast_sizes_change(rng):
    values = np.sort(rng.uniform(size=4_000))
    stripes = np.where((values * 20).astype(int) % 2, 4, 8)  # period .1
    noise = rng.choice([4, 8], 4_000)  # sizes say nothing of the value
    assert SizeBins.from_values(values, stripes).bandwidth < 0.02
    assert SizeBins.from_values(values, noise).bandwidth > 0.08


def test_extreme_values_have_the_sizes_of_extreme_crystals(rng):
    # The lowest crystals come in sizes of their own, as fluorides do among all compounds.
    usual = rng.normal(size=2_000)
    values = np.concatenate([usual, rng.uniform(-4.5, -4.45, 12)])
    sizes = np.concatenate([np.clip(8 + 2 * np.rint(usual), 1, 20), np.full(12, 16)]).astype(int)
    bins = SizeBins.from_values(values, sizes)
    assert bins.near(-4.5)[16] > 0.99
    assert bins.near(-99.0)[16] > 0.99  # beyond the data: as the nearest
    assert bins.near(99.0)[max(sizes[:2_000])] > 0.5


def test_values_in_a_gap_have_the_sizes_of_the_nearest_side():
    values = np.concatenate([np.linspace(0, 1, 100), np.linspace(9, 10, 100)])
    bins = SizeBins.from_values(values, np.repeat([3, 7], 100))
    assert bins.near(2.0)[3] > 0.99
    assert bins.near(8.0)[7] > 0.99
    assert bins.total() == {3: 0.5, 7: 0.5}


@pytest.mark.parametrize("values", [[1.5], [2.0, 2.0, 2.0], [0.0, 1e9], [-3e38, 3e38]])
def test_few_equal_and_distant_values(values):
    array = np.array(values)
    bins = SizeBins.from_values(array, np.arange(1, len(array) + 1))
    for y in (*values, 0.0):
        assert sum(bins.near(y).values()) == pytest.approx(1.0)
    assert set(bins.near(values[0])) == ({1, 2, 3} if len(values) == 3 else {1})


def test_older_statistics_have_bins_and_no_kernel():
    bins = SizeBins((0.0, 1.0, 2.0), ({4: 3}, {6: 1, 8: 1}))
    assert bins.near(0.5) == bins.near(-3.0) == {4: 1.0}
    assert bins.near(1.0) == bins.near(9.0) == {6: 0.5, 8: 0.5}


def test_two_properties_count_sizes_once():
    # Both say nothing of the size: what is asked for changes nothing.
    flat = PropertyStatistics.from_values(np.zeros(10), np.repeat([2, 5], [8, 2]))
    statistics = statistics_of({"a": flat, "b": flat}, {2: 8, 5: 2})
    weights = statistics.size_weights({"a": 0.0, "b": 0.0})
    assert weights[2] / weights[5] == pytest.approx(4.0)


def test_the_kernel_survives_json(rng):
    known = PropertyStatistics.from_values(rng.normal(size=50), rng.integers(1, 5, 50))
    statistics = statistics_of({"gap": known}, {1: 10, 2: 20, 3: 10, 4: 10})
    read = DataStatistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    assert read == statistics
    assert read.size_weights({"gap": 0.3}) == statistics.size_weights({"gap": 0.3})
    raw = statistics.to_dict()
    del raw["properties"]["gap"]["bandwidth"]  # written before there was a kernel
    assert DataStatistics.from_dict(raw).properties["gap"].bandwidth == 0
