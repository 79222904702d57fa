"""What is asked for, held against the training data."""

import numpy as np
import pytest

from pyg_crysdiff.data.statistics import DataStatistics, PropertyStatistics
from pyg_crysdiff.sampling.request import draw_target, extrapolations
from tests.helpers import toy_set


def test_a_value_of_the_data_is_not_beyond_them_by_rounding():
    data = toy_set(40)
    statistics = DataStatistics.from_dataset(data, ["energy"])
    values = [crystal.info["energy"] for crystal in data.crystals()]
    for value in (min(values), max(values)):  # double precision; the statistics are of single
        for near in (value * (1 - 5e-8), value, value * (1 + 5e-8)):
            assert extrapolations({"energy": near}, (), statistics) == []
    assert extrapolations({"energy": min(values) - 1e-3}, (), statistics)
    assert extrapolations({"energy": max(values) + 1e-3}, (), statistics)


@pytest.mark.parametrize("interval", [(0.0, 0.5), (-1.0, 0.3), (0.3, 0.9), (0.3, 0.3), (0.5, 0.7)])
def test_an_interval_is_asked_for_as_its_training_values_are_distributed(rng, interval):
    # more than half are exactly 0, and .3 comes often: in single precision, as data sets keep it
    values = np.concatenate([np.zeros(600), np.full(200, np.float32(0.3)), rng.uniform(0, 1, 200)])
    sizes = np.full(len(values), 2)
    known = PropertyStatistics.from_values(values.astype(np.float64), sizes)
    statistics = DataStatistics((1,), {2: 1}, 1.0, 1.0, 9.0, 9.0, {"gap": known}, len(values))
    low, high = interval
    inside = values[(values >= np.float32(low)) & (values <= np.float32(high))]
    drawn = np.array([draw_target({"gap": interval}, statistics, 0, k)["gap"] for k in range(800)])
    assert drawn.min() >= low
    assert drawn.max() <= high
    for tied in (0.0, 0.3):
        wanted = np.isclose(inside, tied).mean()
        assert np.isclose(drawn, tied).mean() == pytest.approx(wanted, abs=0.06)
