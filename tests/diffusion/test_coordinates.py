import itertools
import math

import pytest
import torch

from pyg_crysdiff.diffusion import (
    WrappedNormalDiffusion,
    mean_squared_score,
    sampling_times,
    wrapped_normal_score,
)


def log_wrapped_normal(x, sigma, images=40):
    k = torch.arange(-images, images + 1, dtype=x.dtype)
    return torch.logsumexp(-((x[..., None] + k) ** 2) / (2 * sigma**2), -1)


@pytest.mark.parametrize("sigma", [0.005, 0.05, 0.2, 0.5])
def test_score_is_the_gradient_of_the_log_density(sigma, generator):
    x = (torch.rand(200, generator=generator, dtype=torch.float64) * 3 - 1.5).requires_grad_()
    (autograd,) = torch.autograd.grad(log_wrapped_normal(x, sigma).sum(), x)
    score = wrapped_normal_score(x.detach(), torch.tensor(sigma, dtype=torch.float64))
    torch.testing.assert_close(score, autograd, rtol=1e-9, atol=1e-9)


def test_score_stays_finite_in_single_precision():
    x = torch.linspace(-0.5, 0.5, 101)
    assert wrapped_normal_score(x, torch.tensor(0.005)).isfinite().all()


def test_mean_squared_score_against_monte_carlo(generator):
    sigma = torch.tensor([0.005, 0.1, 0.3, 0.5], dtype=torch.float64)
    draws = torch.randn(4, 400_000, generator=generator, dtype=torch.float64) * sigma[:, None]
    sampled = wrapped_normal_score(draws, sigma[:, None]).square().mean(1)
    torch.testing.assert_close(mean_squared_score(sigma), sampled, rtol=0.02, atol=0)
    assert float(mean_squared_score(sigma)[0]) == pytest.approx(1 / 0.005**2, rel=1e-6)


def test_normalised_target_has_unit_variance(generator):
    process = WrappedNormalDiffusion(num_steps=50)
    x0 = torch.rand(20_000, 3, generator=generator)
    for step in (1, 25, 50):
        t = torch.full((len(x0),), step)
        x_t = process.corrupt(x0, t, torch.randn(x0.shape, generator=generator))
        assert float(process.target(x0, x_t, t).square().mean()) == pytest.approx(1, abs=0.05)


def test_loss_ignores_whole_turns(generator):
    process = WrappedNormalDiffusion(num_steps=10)
    x0 = torch.rand(5, 3, generator=generator)
    noise = torch.randn(5, 3, generator=generator)
    t = torch.full((5,), 7)
    x_t = process.corrupt(x0, t, noise)
    prediction = torch.randn(5, 3, generator=generator)
    a = process.loss(prediction, x0, x_t, t, noise)
    b = process.loss(prediction, x0 + 3, x_t - 1, t, noise)
    torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    assert (process.loss(process.target(x0, x_t, t), x0, x_t, t, noise) < 1e-10).all()


@pytest.mark.parametrize(("renewal", "inflation"), [(0.7, 1.0), (1.0, 1.0), (0.0, 1.25)])
def test_corrector_keeps_a_normal_distribution(renewal, inflation, generator):
    """Of x_t ~ N(0.5, sigma_t^2); a Langevin step of 0.4 sigma^2 widens it, as theory says."""
    process = WrappedNormalDiffusion(num_steps=100, step_size=0.4 * 0.005**2)
    t = torch.full((20_000,), 40)
    sigma = float(process.sigma[40])

    def draw():
        return torch.randn(len(t), 3, generator=generator, dtype=torch.float64)

    x = 0.5 + sigma * draw()
    for _ in range(30):
        score = (0.5 - x) / sigma**2 / process.score_scale[40]
        x = process.correct(x, score, t, draw(), renewal)
    assert float(x.mean()) == pytest.approx(0.5, abs=3 * sigma / 100)
    assert float(x.var()) == pytest.approx(inflation * sigma**2, rel=0.03)


def test_renewal_narrows_spread_data_by_what_is_said(generator):
    """x_t ~ N(0.5, sigma^2 + w^2), score of that: variance falls by r^2 sigma^2 w^2 / V."""
    process, r = WrappedNormalDiffusion(num_steps=100), 0.7
    var = float(process.sigma[40]) ** 2
    total = 2 * var  # w = sigma
    z = torch.randn(2, 20_000, 3, generator=generator, dtype=torch.float64)
    x = 0.5 + total**0.5 * z[0]
    t = torch.full((20_000,), 40)
    moved = process.correct(x, (0.5 - x) / total / process.score_scale[40], t, z[1], r)
    assert float(moved.var()) == pytest.approx(total - r**2 * var * var / total, rel=0.02)


@pytest.mark.parametrize(("steps", "corrector"), [(None, 1), (None, 0), (50, 1)])
def test_sampler_with_the_exact_score_recovers_the_data(steps, corrector, generator):
    """Data: two peaks at 0.2 and 0.7 with weights 3 to 1, each a wrapped normal of width 0.02."""
    process = WrappedNormalDiffusion(num_steps=200, step_size=1e-5)
    peaks = torch.tensor([0.2, 0.7], dtype=torch.float64)
    log_weights = torch.tensor([0.75, 0.25], dtype=torch.float64).log()
    width = 0.02

    def score(x, t):
        var = process.sigma[t].square()[:, None, None] + width**2
        d = x[..., None] - peaks
        log_p = log_wrapped_normal(d, var.sqrt().unsqueeze(-1), 10) + log_weights
        s = wrapped_normal_score(d, var.sqrt())
        return (log_p.softmax(-1) * s).sum(-1) / process.score_scale[t][:, None]

    n = 2000
    x = process.prior(torch.rand(n, 3, generator=generator, dtype=torch.float64))
    times = sampling_times(200, steps)
    for t, s in itertools.pairwise(times):
        t_row, s_row = torch.full((n,), t), torch.full((n,), s)
        for _ in range(corrector):
            z = torch.randn(n, 3, generator=generator, dtype=torch.float64)
            x = process.correct(x, score(x, t_row), t_row, z)
        z = torch.randn(n, 3, generator=generator, dtype=torch.float64)
        x = process.step(x, score(x, t_row), t_row, s_row, z)
    first = (x - 0.2 - torch.round(x - 0.2)).abs() < 0.15
    second = (x - 0.7 - torch.round(x - 0.7)).abs() < 0.15
    assert float((first | second).double().mean()) > 0.995
    assert float(first.double().mean()) == pytest.approx(0.75, abs=0.03)
    spread = (x[first] - 0.2).std()
    assert float(spread) == pytest.approx(math.sqrt(width**2), rel=0.3)
