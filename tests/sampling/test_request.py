"""What is asked for, held against the training data."""

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.sampling.request import extrapolations
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
