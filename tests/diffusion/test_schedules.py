import itertools
import math

import pytest
import torch

from pyg_crysdiff.diffusion import cosine_alpha_bar, geometric_sigma, sampling_times


def test_cosine_follows_nichol_and_dhariwal():
    alpha_bar = cosine_alpha_bar(1000)
    g = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1001)]
    for t in (1, 10, 500, 990):
        assert float(alpha_bar[t]) == pytest.approx(g[t] / g[0], rel=1e-9)
    beta = 1 - alpha_bar[1:] / alpha_bar[:-1]
    assert alpha_bar[0] == 1
    assert beta.max() <= 0.999 + 1e-12
    assert (beta > 0).all()


def test_geometric_sigma_end_points_and_ratio():
    sigma = geometric_sigma(1000, 0.005, 0.5)
    assert sigma[0] == 0
    assert float(sigma[1]) == pytest.approx(0.005)
    assert float(sigma[1000]) == pytest.approx(0.5)
    ratio = sigma[2:] / sigma[1:-1]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 100 ** (1 / 999)))


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.5), (0.5, 0.1), (-1, 1)])
def test_geometric_sigma_refuses_bad_widths(low, high):
    with pytest.raises(ValueError, match="sigma_min"):
        geometric_sigma(10, low, high)


@pytest.mark.parametrize("steps", [1, 3, 7, 100, None])
def test_sampling_times_descend_to_zero(steps):
    times = sampling_times(100, steps)
    assert times[0] == 100
    assert times[-1] == 0
    assert len(times) == (steps or 100) + 1
    assert all(a > b for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("steps", [0, 101, -1])
def test_sampling_times_refuse_what_is_out_of_range(steps):
    with pytest.raises(ValueError, match=r"1\.\.100"):
        sampling_times(100, steps)
