"""Steps for few-step samplers against exact solutions."""

import itertools

import pytest
import torch

from pyg_crysdiff.diffusion import (
    LatticeDDPM,
    Sampler,
    UniformD3PM,
    WrappedNormalDiffusion,
    sampling_times,
)


def rows(value, n):
    return torch.full((n,), value)


def follow(process, x, predict, times, memory=True):
    """The end of the probability flow from times[0] on; without memory to first order (DDIM)."""
    earlier = None
    for t, s in itertools.pairwise(times):
        now, to = rows(t, len(x)), rows(s, len(x))
        x, found = process.solve(x, predict(x, t), now, to, torch.full_like(x, torch.nan), earlier)
        earlier = (now, found) if memory else None
    return x


def test_flow_of_the_lattice_converges_to_second_order(generator):
    """Data N(m, v): the flow keeps (x - alpha m) / sqrt(alpha^2 v + sigma^2)."""
    process = LatticeDDPM(num_steps=4000)
    m, v = 0.7, 0.3
    x = torch.randn(6, 3, 3, generator=generator, dtype=torch.float64)

    def predict(x, t):
        a = process.alpha_bar[t]
        return (1 - a).sqrt() * (x - a.sqrt() * m) / (a * v + 1 - a)

    a = process.alpha_bar[4000]
    exact = m + v**0.5 * (x - a.sqrt() * m) / (a * v + 1 - a).sqrt()

    def error(steps, **options):
        end = follow(process, x, predict, sampling_times(4000, steps), **options)
        return float((end - exact).abs().max())

    assert error(10) < 0.1
    assert error(160) < error(10) / 16**1.7
    assert error(40) < error(40, memory=False) / 3


def test_flow_of_the_coordinates_converges_to_second_order_across_the_border(generator):
    """Data N(m, v), narrow on the torus: the flow keeps (x - m) / sqrt(v + sigma^2)."""
    process = WrappedNormalDiffusion(4000, sigma_min=0.001, sigma_max=0.1)
    m, v = 0.99, 0.02**2
    x = 0.1 * torch.randn(8, 3, generator=generator, dtype=torch.float64).clamp(-2, 2)

    def predict(y, t):
        sigma = process.sigma[t]
        away = (y - m + 0.5) % 1.0 - 0.5
        return -away / (v + sigma.square()) / process.score_scale[t]

    exact = m + x * (v / (v + process.sigma[4000] ** 2)).sqrt()

    def error(steps, **options):
        end = follow(process, (m + x) % 1.0, predict, sampling_times(4000, steps), **options)
        return float(((end - exact + 0.5) % 1.0 - 0.5).abs().max())

    assert error(20) < 1e-4  # the last step, from sigma_1 to 0, is of first order
    assert error(20) < error(5) / 4**1.7
    assert error(20) < error(20, memory=False) / 3


def test_renewing_step_is_exact_for_a_point(generator):
    process = WrappedNormalDiffusion(100)
    f0 = torch.rand(5, 3, generator=generator, dtype=torch.float64)
    z, fresh = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    t, s = rows(20, 5), rows(7, 5)
    sigma = process.sigma[20]
    x = (f0 + sigma * z) % 1.0
    score = -z / sigma / process.score_scale[20]
    out = process.renew(x, score, t, s, fresh)
    torch.testing.assert_close(out, (f0 + process.sigma[7] * fresh) % 1.0)
    torch.testing.assert_close(process.renew(x, score, t, rows(0, 5), fresh), f0)


def test_mixed_steps_renew_coordinates_and_follow_the_flow_of_the_lattice(generator):
    """Each field gets the step of its kind, the lattice with what it knows of the step before."""
    mixed = Sampler("mixed", 10, temperature=0.25)
    t, s, before = rows(20, 5), rows(7, 5), rows(33, 5)
    x, prediction, z, earlier = torch.randn(4, 5, 3, 3, generator=generator, dtype=torch.float64)
    lattice = LatticeDDPM(50)
    given = (before, earlier)
    out, memory = mixed.step(lattice, x, prediction, t, s, z, given)
    torch.testing.assert_close(out, lattice.solve(x, prediction, t, s, z, given)[0])
    assert memory[0] is t
    torch.testing.assert_close(memory[1], lattice.estimate(x, prediction, t))

    coordinates = WrappedNormalDiffusion(50)
    x, prediction, z = x[:, 0] % 1.0, prediction[:, 0], z[:, 0]
    out, memory = mixed.step(coordinates, x, prediction, t, s, z)
    still = coordinates.renew(x, prediction, t, s, torch.zeros_like(z))
    assert memory is None
    moved = (out - still + 0.5) % 1.0 - 0.5
    torch.testing.assert_close(moved, (0.5 * coordinates.sigma[7] * z + 0.5) % 1.0 - 0.5)

    species, state = UniformD3PM(4, 50), torch.arange(4)
    logits, u = torch.randn(4, 4, generator=generator), torch.rand(4, 1, generator=generator)
    moves = (state, logits, rows(20, 4), rows(7, 4), u)
    assert mixed.step(species, *moves)[0].equal(species.step(*moves))


@pytest.mark.parametrize("solver", ["renew", "solve"])
def test_species_make_their_ordinary_step(solver, generator):
    process = UniformD3PM(4, 50)
    x, logits = torch.arange(4), torch.randn(4, 4, generator=generator)
    given = (x, logits, rows(30, 4), rows(20, 4), torch.rand(4, 1, generator=generator))
    out = getattr(process, solver)(*given)
    if solver == "solve":
        assert out[1] is None
        out = out[0]
    assert out.equal(process.step(*given))


@pytest.mark.parametrize("steps", [1, 10, 60, 1000])
def test_edm_times_are_denser_at_high_noise(steps):
    times = sampling_times(1000, steps, "edm")
    assert times[0] == 1000
    assert times[-1] == 0
    assert len(times) <= steps + 1
    assert all(a > b for a, b in itertools.pairwise(times))
    if steps == 60:
        gaps = [a - b for a, b in itertools.pairwise(times)]
        assert len(times) == 61
        assert gaps[0] < gaps[-1]
        # eq. 5 of Karras et al. for widths from 1 to 100, in the middle
        sigma = (100 ** (1 / 7) + 0.5 * (1 - 100 ** (1 / 7))) ** 7
        assert 100 ** (times[30] / 1000) == pytest.approx(sigma, rel=0.01)
    with pytest.raises(ValueError, match="edm"):
        sampling_times(1000, 10, "log")


def test_focused_times_are_dense_in_the_middle():
    times = sampling_times(1000, 150, "focused")
    assert times[0] == 1000
    assert times[-1] == 0
    assert len(times) == 151
    assert sum(200 < t <= 600 for t in times) == 75
    assert len(sampling_times(1000, 1000, "focused")) <= 1001
    assert sampling_times(50, 1, "focused") == [50, 0]
