import itertools

import pytest
import torch

from pyg_crysdiff.diffusion import LatticeDDPM, sampling_times


def rows(value, n):
    return torch.full((n,), value)


def test_corruption_has_the_moments_of_eq_2(generator):
    process = LatticeDDPM(num_steps=100)
    x0 = torch.full((50_000, 3, 3), 2.0, dtype=torch.float64)
    noise = torch.randn(50_000, 9, generator=generator, dtype=torch.float64)
    x_t = process.corrupt(x0, rows(40, 50_000), noise)
    a = float(process.alpha_bar[40])
    assert float(x_t.mean()) == pytest.approx(2 * a**0.5, abs=0.01)
    assert float(x_t.var()) == pytest.approx(1 - a, abs=0.01)


def test_single_step_is_the_paper_formula(generator):
    """Mean (L_t - beta / sqrt(1 - abar) eps) / sqrt(alpha), variance beta (1-abar')/(1-abar)."""
    process = LatticeDDPM(num_steps=100)
    x, eps = torch.randn(2, 4, 3, 3, generator=generator, dtype=torch.float64)
    z = torch.randn(4, 9, generator=generator, dtype=torch.float64)
    for t in (2, 50, 99):
        a_t, a_s = process.alpha_bar[t], process.alpha_bar[t - 1]
        alpha = a_t / a_s
        mean = (x - (1 - alpha) / (1 - a_t).sqrt() * eps) / alpha.sqrt()
        sigma = ((1 - alpha) * (1 - a_s) / (1 - a_t)).sqrt()
        out = process.step(x, eps, rows(t, 4), rows(t - 1, 4), z)
        torch.testing.assert_close(out, mean + sigma * z.view(4, 3, 3))


def test_loss_is_zero_only_for_the_true_noise(generator):
    process = LatticeDDPM(num_steps=10)
    x0 = torch.randn(3, 3, 3, generator=generator)
    noise = torch.randn(3, 9, generator=generator)
    t = rows(5, 3)
    x_t = process.corrupt(x0, t, noise)
    assert process.loss(noise.view(3, 3, 3), x0, x_t, t, noise).eq(0).all()
    torch.testing.assert_close(
        process.loss(torch.zeros(3, 3, 3), x0, x_t, t, noise), noise.square().mean(1)
    )


@pytest.mark.parametrize("steps", [None, 25])
def test_sampler_with_the_exact_noise_recovers_a_gaussian(steps, generator):
    process = LatticeDDPM(num_steps=200)
    mean, std, n = 1.5, 0.3, 4000
    x = process.prior(torch.randn(n, 9, generator=generator, dtype=torch.float64))
    times = sampling_times(200, steps)
    for t, s in itertools.pairwise(times):
        a = process.alpha_bar[t]
        eps = (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * std**2 + 1 - a)
        z = torch.randn(n, 9, generator=generator, dtype=torch.float64)
        x = process.step(x, eps, rows(t, n), rows(s, n), z)
    assert float(x.mean()) == pytest.approx(mean, abs=0.02)
    assert float(x.std()) == pytest.approx(std, rel=0.1 if steps is None else 0.3)


def test_max_length_bounds_the_estimate_and_keeps_equivariance(generator):
    process = LatticeDDPM(num_steps=1000, max_length=2.0)
    x, eps = torch.randn(2, 8, 3, 3, generator=generator, dtype=torch.float64)
    t = rows(999, 8)
    estimate = process.estimate(x, eps, t)
    assert (estimate.norm(dim=-1) <= 2.0 + 1e-9).all()
    assert (LatticeDDPM(num_steps=1000).estimate(x, eps, t).norm(dim=-1) > 100).any()
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(process.estimate(x @ q, eps @ q, t), estimate @ q)
