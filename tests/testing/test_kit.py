"""The checks for users' own parts pass what is right and name what is wrong."""

import copy

import pytest
import torch
from torch import nn

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.diffusion.coordinates import WrappedNormalDiffusion
from pyg_crysdiff.diffusion.lattice import LatticeDDPM
from pyg_crysdiff.diffusion.species import GivenSpecies, UniformD3PM
from pyg_crysdiff.nn import (
    CDI,
    CDS,
    AdaCDI,
    AdaCDS,
    AdaLN,
    ConditionEmbedding,
    Conditioner,
    CrystalTransformer,
)
from pyg_crysdiff.testing import (
    assert_conditioner,
    assert_dataset,
    assert_denoiser,
    assert_process,
)
from tests.helpers import toy_set


def network() -> CrystalTransformer:
    torch.manual_seed(0)
    return CrystalTransformer(
        4, {"energy": (0.0, 1.0)}, CDS, dim=16, num_blocks=1, num_waves=2, pair_hidden=4
    )


class Wrapped(nn.Module):
    """A denoiser that spoils what a good one returns."""

    def __init__(self, spoil):
        super().__init__()
        self.net = network()
        self.condition_embedding = self.net.condition_embedding
        self.spoil = spoil

    def forward(self, species, frac_coords, lattice, num_atoms, t, condition=None, layout=None):
        inputs = {"species": species, "frac_coords": frac_coords, "lattice": lattice,
                  "num_atoms": num_atoms, "t": t, "condition": condition}  # fmt: skip
        return self.spoil(self.net, inputs)


def _noisy(net, x):
    return tuple(y + torch.rand_like(y) for y in net(**x))


def _in_place(net, x):
    out = net(**x)
    x["frac_coords"].add_(0.1)
    return out


def _mixes(net, x):
    lattice, score, logits = net(**x)
    return lattice, score - score.mean(), logits


def _turned(net, x):
    lattice, score, logits = net(**x)
    return lattice.mT, score, logits


def _absolute(net, x):
    lattice, score, logits = net(**x)
    return lattice, score + x["frac_coords"], logits


def _ordered(net, x):
    lattice, score, logits = net(**x)
    place = torch.cat([torch.arange(n) for n in x["num_atoms"].tolist()])
    return lattice, score + place[:, None], logits


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_noisy, "a second call with the same inputs"),
        (_in_place, "changes its input frac_coords in place"),
        (_mixes, "alone, against its batch"),
        (_turned, "after a rotation of the lattice"),
        (_absolute, "after a common translation"),
        (_ordered, "after a permutation of atoms"),
        (lambda net, x: net(**x)[:2], "returns"),
        (lambda net, x: (*net(**x)[:2], net(**x)[2][:, :2]), "must have shape"),
        (lambda net, x: tuple(y / 0 for y in net(**x)), "not finite"),
        (lambda net, x: tuple(y.float() for y in net(**x)), "precision"),
        (
            lambda net, x: net(**{**x, "condition": {
                k: v.nan_to_num(0.3) for k, v in (x["condition"] or {}).items()}}),
            "conditions of NaN",
        ),
    ],
)  # fmt: skip
def test_denoisers(spoil, message):
    with pytest.raises(AssertionError, match=message):
        assert_denoiser(Wrapped(spoil), 4)


class Caching(Wrapped):
    """A denoiser with contexts, of which some are wrong."""

    def __init__(self, spoil):
        super().__init__(None)
        self.spoil = spoil

    def contexts(self):
        make = self.net.contexts()
        return lambda t, condition: make(*self.spoil(t, condition))

    def forward(self, *inputs, context=None, **more):
        return self.net(*inputs, **more, context=context)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t, c: (t + 50, c), "with a context made beforehand"),
        (lambda t, c: (t, None), "with a context made beforehand"),
        (lambda t, c: (t + (len(t) == 1), c), "a context of one row for all crystals"),
    ],
)
def test_contexts_that_change_the_outputs(spoil, message):
    assert_denoiser(Caching(lambda t, condition: (t, condition)), 4)
    with pytest.raises(AssertionError, match=message):
        assert_denoiser(Caching(spoil), 4)


def test_good_denoisers_pass_and_are_left_alone():
    net = network().train()
    before = copy.deepcopy(net.state_dict())
    assert_denoiser(net, 4)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert_denoiser(Wrapped(_turned), 4, symmetries=("permutation", "translation"))
    with pytest.raises(AssertionError, match="condition_embedding"):
        assert_denoiser(nn.Linear(2, 2), 4)
    with pytest.raises(ValueError, match="unknown symmetries"):
        assert_denoiser(net, 4, symmetries=("magic",))


class Deaf(Conditioner):
    """Does not listen to the condition."""


class Wide(Conditioner):
    def attention(self, block, z_c):
        return z_c


class Leaky(Conditioner):
    def initial(self, z, z_c, crystal):
        return z + z_c.mean(0)


def test_conditioners():
    for good in (CDI, CDS, AdaLN, AdaCDI, AdaCDS):
        assert_conditioner(good)
    for bad, message in ((Deaf, "no effect"), (Wide, "attention"), (Leaky, "alone")):
        with pytest.raises(AssertionError, match=message):
            assert_conditioner(bad)


def test_processes(generator):
    steps, n = 20, 6
    x = torch.rand(n, 3, generator=generator)
    assert_process(WrappedNormalDiffusion(steps), x, torch.randn(n, 3))
    assert_process(LatticeDDPM(steps), torch.randn(n, 3, 3), torch.randn(n, 3, 3))
    z = torch.arange(n) % 4
    assert_process(UniformD3PM(4, steps), z, torch.randn(n, 4))
    assert_process(GivenSpecies(4, steps), z, torch.randn(n, 4))

    class Random(LatticeDDPM):
        def step(self, x_t, prediction, t, s, noise):
            return super().step(x_t, prediction, t, s, torch.randn_like(noise))

    class Coupled(LatticeDDPM):
        def step(self, x_t, prediction, t, s, noise):
            return super().step(x_t - x_t.mean(0), prediction, t, s, noise)

    class Mean(LatticeDDPM):
        def loss(self, *args):
            return super().loss(*args).mean()

    for bad, message in ((Random, "random numbers"), (Coupled, "alone"), (Mean, "per row")):
        with pytest.raises(AssertionError, match=message):
            assert_process(bad(steps), torch.randn(n, 3, 3), torch.randn(n, 3, 3))


def test_data_sets():
    assert_dataset(toy_set(5), ["energy"])
    assert_dataset(load_dataset("demo", "test"), ["formation_energy_per_atom"])

    def spoiled(**changes):
        items = list(toy_set(3))
        for name, value in changes.items():
            items[1][name] = value
        return items

    atoms = int(toy_set(3)[1].num_atoms)
    endless = {"properties": torch.tensor([[float("inf")]])}
    for changes, message in (
        (
            {"frac_coords": torch.full((atoms, 3), 1.0)},
            r"entry 1: frac_coords must lie in \[0, 1\)",
        ),
        ({"lattice": torch.zeros(1, 3, 3)}, "the cell is flat"),
        ({"lattice": torch.eye(3)}, r"shape \(1, 3, 3\)"),
        ({"atomic_numbers": torch.zeros(atoms, dtype=torch.long)}, "1 to 118"),
        (endless, "property energy is infinite"),
        ({"space_group_index": torch.tensor([4])}, "PyG shifts values"),
        ({"num_atoms": torch.tensor([99])}, "num_atoms is not the number"),
    ):
        with pytest.raises(AssertionError, match=message):
            assert_dataset(spoiled(**changes), ["energy"])
    with pytest.raises(AssertionError, match="lacks"):
        assert_dataset(toy_set(2), ["gap"])


def test_the_embedding_is_what_a_denoiser_carries():
    assert isinstance(network().condition_embedding, ConditionEmbedding)
