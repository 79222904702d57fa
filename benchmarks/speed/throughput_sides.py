"""What throughput.py times: our model and peers, each in its published configuration.

All sides are built from the same crystals and offer the same calls. Peers come from the user's own
checkouts, with nothing in them edited; missing compiled packages are stood in for
(:mod:`pyg_crysdiff.baselines.shims`).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_crysdiff.adapters.data import (
    diffcsp_data,
    lengths_and_cosines,
    limit_density,
    mattergen_data,
)
from pyg_crysdiff.baselines.shims import install_shims
from pyg_crysdiff.data.properties import names_of, property_of
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.kinds import Solver
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.platform import choose_precision
from pyg_crysdiff.training import compose_config

T = 1000
CPU = torch.device("cpu")


@dataclass
class Side:
    """Calls to be timed, each for one batch of crystals.

    Attributes:
        model: All weights.
        precision: Number format.
        train: A training step (forward, backward, clip, optimiser) on batch 0 or 1.
        evaluate: A denoiser evaluation on batch 0 or 1.
        evaluations: Denoiser evaluations of a sampling run as published.
        reverse: Ours only: a step of the reverse process by (solver, steps, corrector moves).
    """

    model: torch.nn.Module
    precision: str
    train: Callable[[int], Any]
    evaluate: Callable[[int], Any]
    evaluations: int
    reverse: Callable[[Solver, int, int], Callable[[int], Any]] | None = None


def ours(items: list[Data], conditioner: str, precision: str, device: torch.device) -> Side:
    """This package's default model, with its own condition."""
    config = compose_config([f"conditioner={conditioner}"])
    names = (names_of(items[0]) or [])[:1]
    model = build_model(config, DataStatistics.from_dataset(items, names)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    precision = choose_precision(precision, device)
    half = precision == "bf16-mixed"
    batches = [b.to(device) for b in _halves(items)]
    generator = torch.Generator().manual_seed(0)

    def train(k: int) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = model.loss(batches[k], generator)["total"]
        _update(model, optimizer, loss, torch.nn.utils.clip_grad_norm_)

    states = [model.state(b) for b in batches]
    conditions = [{name: property_of(b, name) for name in model.properties} for b in batches]

    # Bound to sizes and condition once, as in sampling; the time is new in every call.
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        denoise = [model.denoise(s.num_atoms, c) for s, c in zip(states, conditions, strict=True)]

    @torch.inference_mode()
    def evaluate(k: int) -> None:
        t = torch.full((len(states[k].num_atoms),), T // 2, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            denoise[k](states[k], t)

    def reverse(solver: Solver, steps: int, moves: int) -> Callable[[int], Any]:
        sizes = states[0].num_atoms.tolist()
        target = {k: v[:1].expand(len(v)) for k, v in conditions[0].items()}  # one for all
        seeds = [crystal_seed(0, i) for i in range(len(sizes))]
        sampler = Sampler(solver, steps, corrector_steps=moves)

        def run() -> Iterator[Any]:
            while True:
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    yield from model.generate(sizes, seeds, sampler, target)

        along = run()
        return lambda _: next(along)

    return Side(model, precision, train, evaluate, 2 * T, reverse)


def diffcsp(items: list[Data], checkout: Path, device: torch.device = CPU) -> Side:
    """DiffCSP's ``CSPDiffusion`` with type generation (512 x 6); two calls per step of 1000."""
    install_shims(device.type)
    os.environ.update(PROJECT_ROOT=str(checkout), HYDRA_JOBS="/tmp", WABDB_DIR="/tmp")
    sys.path.insert(0, str(checkout))
    hydra = importlib.import_module("hydra")
    with hydra.initialize_config_dir(str(checkout / "conf"), version_base="1.1"):
        config = hydra.compose("default", overrides=["model=diffusion_w_type", "data=mp_20"])
    parts = {"optim": config.optim, "data": config.data, "logging": config.logging}
    model = hydra.utils.instantiate(config.model, **parts, _recursive_=False).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = [batch.to(device) for batch in _halves(diffcsp_data(items))]

    def train(k: int) -> None:
        loss = model(batches[k])["loss"]
        _update(model, optimizer, loss, torch.nn.utils.clip_grad_value_)

    def inputs(batch: Batch) -> tuple[Tensor, ...]:
        with torch.no_grad():
            times = torch.full((batch.num_graphs,), T // 2, device=device)
            embedded = model.time_embedding(times)
        types = torch.randn(int(batch.num_nodes or 0), 100, device=device)
        lattices = torch.randn(batch.num_graphs, 3, 3, device=device)
        return embedded, types, batch.frac_coords, lattices, batch.num_atoms, batch.batch

    given = [inputs(b) for b in batches]

    @torch.inference_mode()
    def evaluate(k: int) -> None:
        model.decoder(*given[k])

    return Side(model.decoder, "32-true", train, evaluate, 2 * T)


def mattergen(items: list[Data], checkout: Path) -> Side:
    """MatterGen's ``DiffusionModule`` with GemNet-T (512); two calls per step of 1000."""
    install_shims("cpu")
    os.environ["PROJECT_ROOT"] = str(checkout / "mattergen")
    sys.path.insert(0, str(checkout))
    from hydra.utils import instantiate
    from mattergen.common.data.collate import collate
    from omegaconf import OmegaConf

    data = mattergen_data(items)
    if not OmegaConf.has_resolver("eval"):
        OmegaConf.register_new_resolver("eval", eval)
    folder = checkout / "mattergen" / "conf" / "lightning_module" / "diffusion_module"
    config = OmegaConf.load(folder / "default.yaml")
    config.corruption = OmegaConf.load(folder / "corruption" / "default.yaml")
    config.model = OmegaConf.load(folder / "model" / "mattergen.yaml")
    config.model.pop("defaults", None)
    density = "corruption.sdes.cell.vpsde_config.limit_density"
    OmegaConf.update(config, density, limit_density(items))
    model = instantiate(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    half = len(data) // 2
    batches = [collate(data[:half]), collate(data[half:])]

    def train(k: int) -> None:
        loss = model.calc_loss(batches[k])[0]
        _update(model, optimizer, loss, torch.nn.utils.clip_grad_value_)

    def evaluate(k: int) -> None:
        # Not in inference mode: its network takes forces as gradients in some configurations.
        with torch.no_grad():
            model.score_fn(batches[k], torch.full((half,), 0.5))

    return Side(model, "32-true", train, evaluate, 2 * T)


def crystalite(items: list[Data], checkout: Path) -> Side:
    """Crystalite's EDM Transformer by the README's recipe (512 x 14); 150 steps of Heun."""
    sys.path.insert(0, str(checkout))
    from src.crystalite.crystalite import CrystaliteModel
    from src.crystalite.edm_utils import compute_edm_loss, denoise_edm, sample_sigma
    from src.data.mp20_tokens import VZ
    from src.models.lattice_repr import y1_to_lattice_latent
    from src.models.type_encoding import build_type_encoding

    encoding = build_type_encoding("subatomic_tokenizer_pca_16", vz=VZ)
    model = CrystaliteModel(
        d_model=512, n_heads=16, n_layers=14, vz=VZ, type_dim=encoding.type_dim,
        lattice_embed_mode="mlp", lattice_repr="ltri", use_edge_bias=True, edge_bias_n_freqs=12,
        edge_bias_hidden_dim=256, edge_bias_n_rbf=32,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    spread = {f"sigma_data_{name}": 0.3 for name in ("type", "coord", "lat")}
    widest = max(len(d.atomic_numbers) for d in items)
    half = len(items) // 2
    batches = [
        _crystalite_batch(part, widest, encoding, y1_to_lattice_latent)
        for part in (items[:half], items[half:])
    ]

    def denoise(clean: dict[str, Tensor], sigma: Tensor) -> tuple[Any, Tensor]:
        wide = sigma[:, None, None]
        real = ~clean["pad_mask"][..., None]
        frac = (clean["frac_c"] + wide * torch.randn_like(clean["frac_c"])) * real
        types = clean["type"] + wide * torch.randn_like(clean["type"])
        lat = clean["lat"] + sigma[:, None] * torch.randn_like(clean["lat"])
        out = denoise_edm(
            model=model, type_noisy=types, frac_noisy=frac, lat_noisy=lat,
            pad_mask=clean["pad_mask"], sigma=sigma, sigma_min=0.002, sigma_max=80.0, **spread,
        )  # fmt: skip
        return out, frac

    def train(k: int) -> None:
        clean = batches[k]
        sigma = sample_sigma(half, torch.device("cpu"), -1.2, 1.2, 0.002, 80.0)
        out, frac = denoise(clean, sigma)
        loss = compute_edm_loss(
            denoised=out, clean=clean, frac_noisy=frac, sigma=sigma, pad_mask=clean["pad_mask"],
            loss_weights={"A": 16.0, "F": 150.0, "Y": 5.0}, coord_loss_mode="frac_mse",
            lattice_repr="ltri", **spread,
        )["loss_total"]  # fmt: skip
        _update(model, optimizer, loss, torch.nn.utils.clip_grad_norm_)

    @torch.inference_mode()
    def evaluate(k: int) -> None:
        denoise(batches[k], torch.full((half,), 1.0))

    return Side(model, "32-true", train, evaluate, 2 * 150 - 1)


def _crystalite_batch(
    part: list[Data], widest: int, encoding: Any, latent: Callable[[Tensor, str], Tensor]
) -> dict[str, Tensor]:
    """Crystals padded to the widest, as Crystalite's own loader gives them."""
    types = torch.zeros(len(part), widest, dtype=torch.long)
    coordinates = torch.zeros(len(part), widest, 3)
    cells = torch.zeros(len(part), 6)
    for row, d in enumerate(part):
        n = len(d.atomic_numbers)
        types[row, :n], coordinates[row, :n] = d.atomic_numbers, d.frac_coords
        lengths, cosines = lengths_and_cosines(d)
        cells[row] = torch.cat([lengths.log(), cosines])
    mask = types == 0
    return {
        "pad_mask": mask,
        "type": encoding.encode_from_A0(types, mask),
        "frac_c": coordinates - 0.5,
        "lat": latent(cells, "ltri"),
    }


PEERS = {"diffcsp": diffcsp, "mattergen": mattergen, "crystalite": crystalite}


def _halves(data: list[Data]) -> list[Batch]:
    half = len(data) // 2
    return [Batch.from_data_list(data[:half]), Batch.from_data_list(data[half:])]


def _update(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip: Callable[..., Any]
) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    clip(model.parameters(), 0.5)
    optimizer.step()
