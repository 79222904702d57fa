"""Low-temperature sampling of the coordinates: what it does to known distributions."""

import itertools

import pytest
import torch

from pyg_crysdiff.diffusion import CrystalNoise, Sampler
from pyg_crysdiff.diffusion.state import Prediction
from tests.diffusion.test_joint import joint

T = 20  # steps of the process of that file


def sample(process, score, count, sampler):
    """Coordinates of crystals of one atom, by a function of x and sigma that gives the scores."""
    noise = CrystalNoise(range(count), [1] * count)
    state = process.prior(torch.ones(count, dtype=torch.long), noise)
    coordinates = process.field("coordinates")

    def denoise(state, t):
        time = int(t[0])
        x, sigma = state.coordinates, coordinates.sigma[time]
        normalised = (score(x, sigma) / coordinates.score_scale[time]).to(x.dtype)
        return Prediction(torch.zeros_like(state.lattice), normalised, torch.zeros(count, 3))

    *_, (_, last) = process.reverse(state, denoise, noise, sampler)
    return last.coordinates


def away(x, centre):
    return (x - centre + 0.5) % 1.0 - 0.5


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_spread_follows_the_recursion_of_the_steps(temperature):
    """Data N(0.5, v): every step and move is linear, so that the variance is known exactly."""
    process, v, count = joint(), 0.03**2, 3000
    coordinates = process.field("coordinates")
    sampler = Sampler("ancestral", None, "uniform", 1, temperature=temperature)
    found = sample(process, lambda x, s: -away(x, 0.5) / (v + s**2), count, sampler)
    sigma, variance = coordinates.sigma.tolist(), 1 / 12  # of the uniform prior
    for t, s in itertools.pairwise(sampler.times(T)):
        step = coordinates.step_size * (sigma[t] / sigma[1]) ** 2
        pull = 1 / temperature / (v + sigma[t] ** 2)
        variance = (1 - step * pull) ** 2 * variance + 2 * step
        change = sigma[t] ** 2 - sigma[s] ** 2
        spread = sigma[s] ** 2 * change / sigma[t] ** 2
        variance = (1 - change * pull) ** 2 * variance + spread
    measured = float(away(found, 0.5).square().mean())
    assert measured == pytest.approx(variance, rel=0.05)  # 9,000 numbers: 1.5 % standard error


@pytest.mark.parametrize("solver", ["renewing", "mixed"])
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_spread_follows_the_recursion_of_renewed_coordinates(solver, temperature):
    """Data N(0.5, v): the estimate is linear, and what is added anew has T times the variance."""
    process, v, count = joint(), 0.2**2, 3000
    sampler = Sampler(solver, 10, temperature=temperature)
    found = sample(process, lambda x, s: -away(x, 0.5) / (v + s**2), count, sampler)
    sigma, variance = process.field("coordinates").sigma.tolist(), 1 / 12
    for t, s in itertools.pairwise(sampler.times(T)):
        kept = v / (v + sigma[t] ** 2)
        variance = kept**2 * variance + temperature * sigma[s] ** 2
    measured = float(away(found, 0.5).square().mean())
    assert measured == pytest.approx(variance, rel=0.06)


def share_near_heavy(temperature):
    """Share of draws near the heavier (.7) of two points, by the exact score of both."""
    weights, points = torch.tensor([0.7, 0.3]), torch.tensor([[0.2] * 3, [0.7] * 3])

    def score(x, sigma):
        d = away(x[:, None], points)
        near = (weights.log() - d.square().sum(-1) / (2 * sigma**2)).softmax(1)
        return -(near.unsqueeze(-1) * d).sum(1) / sigma**2

    sampler = Sampler("ancestral", None, temperature=temperature)
    found = sample(joint(), score, 2000, sampler)
    return float((away(found, points[0]).abs().amax(1) < 0.25).double().mean())


def test_cold_sampling_prefers_the_likely_and_hot_sampling_does_not():
    cold, plain, hot = map(share_near_heavy, (0.5, 1.0, 3.0))
    assert cold > plain + 0.05
    assert hot < plain - 0.02


def test_one_is_the_sampler_without_temperature():
    prediction = Prediction(*torch.ones(3, 2, 3))
    assert Sampler("ancestral", None).tempered(prediction) is prediction
    cold = Sampler("ancestral", None, temperature=0.5).tempered(prediction)
    assert cold.coordinates.eq(2).all()
    assert cold.lattice is prediction.lattice
    assert cold.species is prediction.species
    assert Sampler("renewing", 5, temperature=0.5).tempered(prediction) is prediction


def test_records_name_it_only_where_it_is_not_one():
    assert "temperature" not in Sampler("ancestral", None).to_dict()
    cold = Sampler("ancestral", 10, temperature=0.3)
    assert cold.to_dict()["temperature"] == 0.3
    assert Sampler.from_dict(cold.to_dict()) == cold
    assert str(cold).endswith("temperature 0.3")
