"""Contracts of the adapters with peers' interfaces, without the peers."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn
from torch_geometric.data import Batch, Data

from pyg_crysdiff.adapters import (
    DiffCSPDecoder,
    DiffCSPDenoiser,
    MatterGenDenoiser,
    PyGDenoiser,
)
from pyg_crysdiff.adapters.omatg import OMatGEncoder
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.coordinates import WrappedNormalDiffusion
from pyg_crysdiff.diffusion.joint import JointDiffusion
from pyg_crysdiff.diffusion.lattice import LatticeDDPM
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.diffusion.species import UniformD3PM
from pyg_crysdiff.models import CrystalDiffusion
from pyg_crysdiff.testing import assert_denoiser
from tests.helpers import toy_set

SIZES = torch.tensor([3, 1, 4])
ATOMS, CRYSTALS = 8, 3
BATCH = torch.repeat_interleave(torch.arange(CRYSTALS), SIZES)
SMALL = {"dim": 16, "num_blocks": 2, "num_heads": 2, "num_waves": 3}


def state(generator):
    lattice = 4 * torch.eye(3) + torch.randn(CRYSTALS, 3, 3, generator=generator)
    return torch.rand(ATOMS, 3, generator=generator), lattice


def rotation(generator):
    return torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]


def test_diffcsp_generation_and_csp(generator):
    frac, lattice = state(generator)
    time = torch.randn(CRYSTALS, 256, generator=generator)
    generation = DiffCSPDecoder(latent_dim=256, pred_type=True, smooth=True, **SMALL).eval()
    types = torch.randn(ATOMS, 100, generator=generator)
    eps, coord, noise = generation(time, types, frac, lattice, SIZES, BATCH)
    assert (eps.shape, coord.shape, noise.shape) == ((3, 3, 3), (8, 3), (8, 100))
    turn = rotation(generator)
    turned = generation(time, types, frac, lattice @ turn, SIZES, BATCH)
    torch.testing.assert_close(turned[0], eps @ turn, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(turned[1], coord, rtol=1e-3, atol=1e-5)
    csp = DiffCSPDecoder(latent_dim=256, **SMALL).eval()
    numbers = torch.randint(1, 101, (ATOMS,), generator=generator)
    outputs = csp(time, numbers, frac, lattice, SIZES, BATCH)
    assert [x.shape for x in outputs] == [(3, 3, 3), (8, 3)]
    one_hot = nn.functional.one_hot(numbers - 1, 100).float()
    csp.smooth = True
    for a, b in zip(csp(time, one_hot, frac, lattice, SIZES, BATCH), outputs, strict=True):
        torch.testing.assert_close(a, b)
    energy = DiffCSPDecoder(latent_dim=256, pred_scalar=True, smooth=True, **SMALL)
    assert energy(time, types, frac, lattice, SIZES, BATCH).shape == (3, 1)
    with pytest.raises(ValueError, match="stand together"):
        energy(time, types, frac, lattice, SIZES, BATCH.flip(0))


def test_diffcsp_coordinates_are_minus_the_score(generator):
    """The sampler subtracts the output: with the decoder's sign it must move towards the data."""
    frac, lattice = state(generator)
    decoder = DiffCSPDecoder(latent_dim=8, pred_type=True, smooth=True, **SMALL).eval()
    score = torch.randn(ATOMS, 3, generator=generator)
    decoder.network.to_coordinates = nn.Identity()
    decoder.read = lambda z, mean, lattice: (lattice, score, z)
    types = torch.zeros(ATOMS, 100)
    _, coord, _ = decoder(torch.zeros(CRYSTALS, 8), types, frac, lattice, SIZES, BATCH)
    torch.testing.assert_close(coord, -score)


def test_a_peers_network_in_our_diffusion(generator):
    """A network with CSPNet's interface passes the checks of a denoiser, trains and samples."""
    torch.manual_seed(0)
    peer = DiffCSPDecoder(latent_dim=32, pred_type=True, smooth=True, **SMALL)
    denoiser = DiffCSPDenoiser(peer, 4, latent_dim=32, properties={"energy": (1.0, 0.5)})
    assert_denoiser(denoiser, 4)
    items = toy_set(8)
    statistics = DataStatistics.from_dataset(items, ["energy"])
    process = JointDiffusion(LatticeDDPM(20), WrappedNormalDiffusion(20), UniformD3PM(4, 20))
    model = CrystalDiffusion(denoiser, process, statistics)
    losses = model.loss(Batch.from_data_list(list(items)), generator)
    losses["total"].backward()
    assert all(bool(p.grad.isfinite().all()) for p in peer.parameters() if p.grad is not None)
    condition = {"energy": torch.tensor([1.0, 2.0])}
    final = list(model.generate([2, 3], [0, 1], Sampler(steps=2), condition, guidance=2.0))[-1]
    assert len(model.crystals(final[1])) == 2
    with pytest.raises(ValueError, match="100 species"):
        DiffCSPDenoiser(peer, 101)


class Graph(dict):
    """The parts of MatterGen's ChemGraph that a score model uses."""

    def get_batch_idx(self, name):
        assert name == "pos"
        return BATCH

    def replace(self, **changes):
        return Graph({**self, **changes})


class Constant(nn.Module):
    def __init__(self, value, width):
        super().__init__()
        self.register_buffer("value", torch.full((CRYSTALS, width), value))

    def forward(self, batch):
        del batch
        return self.value


def test_mattergen(generator):
    frac, lattice = state(generator)
    cell = lattice @ lattice.mT
    numbers = torch.randint(1, 102, (ATOMS,), generator=generator)
    x = Graph(pos=frac, cell=cell, atomic_numbers=numbers, num_atoms=SIZES)
    t = torch.rand(CRYSTALS, generator=generator)
    torch.manual_seed(0)
    net = MatterGenDenoiser(16, **SMALL).eval()
    out = net(x, t)
    assert (out["pos"].shape, out["atomic_numbers"].shape) == ((8, 3), (8, 101))
    torch.testing.assert_close(out["cell"], out["cell"].mT)
    assert x["pos"] is frac
    assert net.cond_fields_model_was_trained_on == []
    embeddings = {"gap": Constant(1.0, 16), "chemical_system": Constant(-1.0, 16)}
    conditional = MatterGenDenoiser(16, embeddings, **SMALL).eval()
    assert set(conditional.cond_fields_model_was_trained_on) == {"gap", "chemical_system"}
    first = conditional(x, t)["pos"]
    conditional.property_embeddings["gap"].value.neg_()
    assert not torch.allclose(conditional(x, t)["pos"], first)
    masked = MatterGenDenoiser(
        16,
        element_mask_func=lambda logits, x, batch_idx: logits - 100 * batch_idx[:, None],
        **SMALL,
    )
    assert masked.eval()(x, t)["atomic_numbers"][-1].max().item() < -100
    assert masked.train()(x, t)["atomic_numbers"][-1].max().item() > -100


def test_omatg(generator):
    frac, lattice = state(generator)
    species = torch.randint(0, 101, (ATOMS,), generator=generator)
    x = Data(species=species, pos=frac, cell=lattice, n_atoms=SIZES, batch=BATCH)
    encoder = OMatGEncoder(latent_dim=32, prop_embed_dim=4, **SMALL).eval()
    encoder.enable_masked_species()
    time, prop = torch.randn(CRYSTALS, 32), torch.randn(CRYSTALS, 4)
    out = encoder(x, time, prop)
    shapes = {"species": (8, 100), "pos": (8, 3), "cell": (3, 3, 3)}
    for name, shape in shapes.items():
        for kind in ("b", "eta"):
            assert out[f"{name}_{kind}"].shape == shape
        assert not torch.allclose(out[f"{name}_b"], out[f"{name}_eta"])
    turn = rotation(generator)
    turned = encoder(Data(**{**x.to_dict(), "cell": lattice @ turn}), time, prop)
    torch.testing.assert_close(turned.cell_b, out.cell_b @ turn, rtol=1e-3, atol=1e-5)
    sum(v.square().sum() for v in out.to_dict().values()).backward()
    assert all(p.grad is not None for p in encoder.parameters())
    x.batch = BATCH.flip(0)
    with pytest.raises(ValueError, match="stand together"):
        encoder(x, time, prop)


def test_plain_pyg(generator):
    frac, lattice = state(generator)
    items, start = [], 0
    for k, n in enumerate(SIZES.tolist()):
        pos = frac[start : start + n] @ lattice[k]
        items.append(Data(z=torch.randint(1, 90, (n,)), pos=pos, cell=lattice[k : k + 1]))
        start += n
    batch, t = Batch.from_data_list(items), torch.tensor([1.0, 500.0, 900.0])
    net = PyGDenoiser(32, **SMALL).eval()
    vectors, matrix, logits = net(batch, t)
    assert (vectors.shape, matrix.shape, logits.shape) == ((8, 3), (3, 3, 3), (8, 119))
    turn = rotation(generator)
    turned = batch.clone()
    turned.pos, turned.cell = batch.pos @ turn, batch.cell @ turn
    moved = net(turned, t)
    torch.testing.assert_close(moved[0], vectors @ turn, rtol=1e-3, atol=1e-4)
    alone = net(items[2], t[2:])
    torch.testing.assert_close(alone[0], vectors[4:], rtol=1e-3, atol=1e-4)
    batch.batch = batch.batch.flip(0)
    with pytest.raises(ValueError, match="stand together"):
        net(batch, t)


def test_hydra_instantiates_by_target_line():
    from hydra.utils import instantiate

    config = {"_target_": "pyg_crysdiff.adapters.DiffCSPDecoder", **SMALL}
    decoder = instantiate(config, latent_dim=64, pred_type=True, smooth=True)
    assert isinstance(decoder, DiffCSPDecoder)
    assert SimpleNamespace(**SMALL).dim == decoder.dim


def test_the_page_on_omatg_configures_an_encoder_that_exists():
    page = (Path(__file__).parents[2] / "docs" / "drop_in.md").read_text(encoding="utf-8")
    text = page.split('```yaml title="omatg.yaml"\n')[1].split("```")[0]
    model = yaml.safe_load(text)["model"]["model"]["init_args"]
    module, _, name = model["encoder"]["class_path"].rpartition(".")
    encoder = getattr(importlib.import_module(module), name)(**model["encoder"]["init_args"])
    width = model["time_embedder"]["init_args"]["dim"]
    batch = SimpleNamespace(
        species=torch.zeros(ATOMS, dtype=torch.long),  # all masked
        pos=torch.rand(ATOMS, 3),
        cell=torch.eye(3).expand(CRYSTALS, 3, 3),
        n_atoms=SIZES,
    )
    assert encoder(batch, torch.randn(CRYSTALS, width)).species_b.shape == (ATOMS, 100)
