import math

import pytest
import torch

from pyg_crysdiff.nn.conditioning import ConditionEmbedding, SinusoidalTime


def test_sinusoid_against_its_definition():
    encoded = SinusoidalTime(6)(torch.tensor([7]))[0]
    for k in range(3):
        angle = 7 * 10_000 ** (-k / 3)
        assert float(encoded[k]) == pytest.approx(math.sin(angle), abs=1e-5)
        assert float(encoded[3 + k]) == pytest.approx(math.cos(angle), abs=1e-5)


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="even"):
        SinusoidalTime(5)


def test_values_are_scaled_by_mean_and_deviation():
    torch.manual_seed(0)
    a = ConditionEmbedding(8, {"e": (10.0, 4.0)})
    b = ConditionEmbedding(8, {"e": (0.0, 1.0)})
    b.load_state_dict(a.state_dict())
    t = torch.tensor([3, 3])
    scaled = a(t, {"e": torch.tensor([14.0, 2.0])})
    torch.testing.assert_close(scaled, b(t, {"e": torch.tensor([1.0, -2.0])}))


def test_without_properties_only_time_enters():
    embedding = ConditionEmbedding(8)
    assert embedding(torch.tensor([1, 2])).shape == (2, 8)
    with pytest.raises(KeyError, match="unknown properties"):
        embedding(torch.tensor([1]), {"e": torch.zeros(1)})


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan])
def test_bad_scaling_is_refused(std):
    with pytest.raises(ValueError, match="positive standard deviation"):
        ConditionEmbedding(8, {"e": (0.0, std)})
