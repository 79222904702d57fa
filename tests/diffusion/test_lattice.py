import itertools

import pytest
import torch

from pyg_crysdiff.diffusion import LatticeDDPM, sampling_times
from pyg_crysdiff.diffusion.lattice import widened


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


def widths(lattice):
    """Distances of opposite faces: 1 / length of the reciprocal vectors."""
    return 1 / torch.linalg.inv(lattice).norm(dim=-2)


def test_flat_cells_are_widened_and_others_stay(generator):
    lattice = torch.randn(500, 3, 3, generator=generator, dtype=torch.float64)
    before, out = widths(lattice), widened(lattice, 0.6)
    wide = (before >= 0.6).all(-1)
    assert 50 < int(wide.sum()) < 450
    assert torch.equal(out[wide], lattice[wide])
    assert (widths(out) >= 0.6 - 1e-9).all()
    assert torch.equal(torch.linalg.det(out).sign(), torch.linalg.det(lattice).sign())


def test_widening_commutes_with_rotations_and_reflections(generator):
    lattice = torch.randn(50, 3, 3, generator=generator, dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.randn(50, 3, 3, generator=generator, dtype=torch.float64))
    q[::2] *= -1
    assert {-1.0, 1.0} == set(torch.linalg.det(q).round().tolist())
    torch.testing.assert_close(widened(lattice @ q, 0.8), widened(lattice, 0.8) @ q)


def test_a_plane_gets_a_volume():
    flat = torch.tensor([[[1.0, 0, 0], [0.3, 1, 0], [0.4, 0.4, 0]]])
    assert (widths(widened(flat, 0.5)) >= 0.5 - 1e-6).all()


def test_min_width_holds_where_the_noise_is_half_as_large(generator):
    process = LatticeDDPM(num_steps=1000, min_width=0.6)
    ratio = ((1 - process.alpha_bar) / process.alpha_bar).sqrt()
    first = int((ratio <= 0.3).nonzero().max())
    x = 0.3 * torch.randn(200, 3, 3, generator=generator, dtype=torch.float64)
    zero = torch.zeros_like(x)
    free = LatticeDDPM(num_steps=1000).estimate(x, zero, rows(first + 1, 200))
    torch.testing.assert_close(process.estimate(x, zero, rows(first + 1, 200)), free)
    assert (widths(free) < 0.6).any()
    assert (widths(process.estimate(x, zero, rows(first, 200))) >= 0.6 - 1e-9).all()
