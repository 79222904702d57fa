"""Sampling with parts given."""

from dataclasses import replace

import pytest
import torch

from pyg_crysdiff.diffusion.coordinates import WrappedNormalDiffusion
from pyg_crysdiff.diffusion.inpainting import Inpainting
from pyg_crysdiff.diffusion.joint import JointDiffusion
from pyg_crysdiff.diffusion.lattice import LatticeDDPM
from pyg_crysdiff.diffusion.noise import CrystalNoise
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.diffusion.species import GivenSpecies, UniformD3PM
from pyg_crysdiff.diffusion.state import CrystalState, Prediction

STEPS, CLASSES, SIZES = 20, 4, [2, 3]


def process(species=None) -> JointDiffusion:
    species = UniformD3PM(CLASSES, STEPS) if species is None else species
    return JointDiffusion(LatticeDDPM(STEPS), WrappedNormalDiffusion(STEPS), species)


def noise(offset: int = 0) -> CrystalNoise:
    return CrystalNoise([offset, offset + 1], SIZES)


def denoise(state: CrystalState, t: torch.Tensor) -> Prediction:
    generator = torch.Generator().manual_seed(int(t[0]))
    draw = {n: torch.randn(s, generator=generator) for n, s in (("l", (2, 3, 3)), ("x", (5, 3)))}
    return Prediction(draw["l"], draw["x"], torch.randn(5, CLASSES, generator=generator))


def run(joint, given):
    prior = joint.prior(torch.tensor(SIZES), noise())
    return list(joint.reverse(prior, denoise, noise(), Sampler.preset("paper"), given))


def test_given_parts_come_out_exactly_and_are_noised_on_the_way():
    coordinates = torch.full((5, 3), torch.nan)
    coordinates[[0, 3]] = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.0, 0.5]])
    lattice = torch.full((2, 3, 3), torch.nan)
    lattice[1] = torch.eye(3) * 1.5
    allowed = torch.ones(5, CLASSES, dtype=torch.bool)
    allowed[1] = torch.tensor([False, False, True, False])
    allowed[2] = torch.tensor([True, False, False, True])
    known = Inpainting(noise(7), allowed, coordinates, lattice)
    states = run(process(), known)
    final = states[-1][1]
    assert torch.equal(final.coordinates[[0, 3]], coordinates[[0, 3]])
    assert torch.equal(final.lattice[1], lattice[1])
    assert not torch.equal(final.lattice[0], lattice[1])
    assert final.species[1] == 2
    assert final.species[2] in (0, 3)
    early = states[0][1]
    assert not torch.allclose(early.coordinates[0], coordinates[0], atol=0.02)
    free = run(process(), None)[-1][1]
    assert not torch.equal(free.coordinates[0], final.coordinates[0])


def test_noise_of_given_parts_is_that_of_the_forward_process():
    joint = process()
    sizes = [4000]
    known = Inpainting(CrystalNoise([3], sizes), coordinates=torch.full((4000, 3), 0.5))
    state = joint.prior(torch.tensor(sizes), CrystalNoise([0], sizes))
    held = known.hold(joint, state, 10).coordinates
    wrapped = joint.field("coordinates").corrupt(
        torch.full((4000, 3), 0.5), torch.full((4000,), 10), torch.randn(4000, 3)
    )
    assert float(held.std()) == pytest.approx(float(wrapped.std()), rel=0.03)


def test_an_atom_with_one_class_follows_the_forward_process():
    joint, count = process(), 6000
    sizes = [count]
    allowed = torch.zeros(count, CLASSES, dtype=torch.bool)
    allowed[:, 2] = True
    known = Inpainting(CrystalNoise([1], sizes), allowed)

    def flat(state, t):
        return Prediction(torch.zeros(1, 3, 3), torch.zeros(count, 3), torch.zeros(count, CLASSES))

    prior = joint.prior(torch.tensor(sizes), CrystalNoise([2], sizes))
    sampler = Sampler("ancestral", None)
    for s, state in joint.reverse(prior, flat, CrystalNoise([4], sizes), sampler, known):
        keep = float(joint.field("species").alpha_bar[s])
        expected = keep + (1 - keep) / CLASSES
        assert float((state.species == 2).float().mean()) == pytest.approx(expected, abs=0.03)


def test_the_composition_is_settled_once_and_kept():
    calls = []

    def settle(probabilities):
        calls.append(probabilities.shape)
        return torch.tensor([0, 1, 1, 2, 3])

    known = Inpainting(noise(7), settle=settle, settle_at=5)
    allowed = torch.ones(5, CLASSES, dtype=torch.bool)
    states = run(process(), replace(known, allowed=allowed))
    assert calls == [(5, CLASSES)]
    assert states[-1][1].species.tolist() == [0, 1, 1, 2, 3]


def test_given_species_are_seen_clean_at_every_time():
    joint = process(GivenSpecies(CLASSES, STEPS))
    allowed = torch.nn.functional.one_hot(torch.tensor([3, 1, 0, 2, 2]), CLASSES).bool()
    for _, state in run(joint, Inpainting(noise(7), allowed)):
        assert state.species.tolist() == [3, 1, 0, 2, 2]
    field = joint.field("species")
    x0, t = torch.tensor([1, 2]), torch.tensor([20, 3])
    assert torch.equal(field.corrupt(x0, t, torch.rand(2, 1)), x0)
    assert field.loss(torch.randn(2, CLASSES), x0, x0, t, torch.rand(2, 1)).tolist() == [0, 0]
