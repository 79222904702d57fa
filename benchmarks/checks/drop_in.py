"""Train and sample with the Transformer inside other pipelines, from their own public checkouts.

Nothing in a checkout is edited: its configuration files are read and only the line that names the
network is changed, as a user would. Every pipeline trains on the same real crystals with its own
loss, and samples with its own sampler.

    python benchmarks/checks/drop_in.py --dataset perov5 --data-root DATA --split val-as-train \
        --peer diffcsp=CHECKOUT --peer mattergen=CHECKOUT --peer omatg=CHECKOUT --json drop_in.json

OMatG needs `pip install torchdiffeq torchsde lmdb jsonargparse`; what else is missing is stood in
for.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from pyg_crysdiff import adapters
from pyg_crysdiff.adapters.data import diffcsp_data, limit_density, mattergen_data
from pyg_crysdiff.baselines.shims import install_shims
from pyg_crysdiff.data import Crystal, load_dataset
from pyg_crysdiff.evaluation.validity import structural_problem

NETWORK = {"dim": 64, "num_blocks": 3}


@dataclass
class Pipeline:
    """What a peer's code offers: its data, its loss, its sampler."""

    title: str
    adapter: type
    module: nn.Module
    batches: Iterator[Any]
    loss: Callable[[Any], Tensor]
    sample: Callable[[], list[Crystal]]


def main() -> None:
    """Run every pipeline and print a row for each."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    options = {} if args.dataset == "demo" else {"source": args.data_root, "scheme": args.split}
    data = load_dataset(args.dataset, "train", **options)
    items = [data[k] for k in range(min(len(data), args.crystals))]
    peers = dict(pair.split("=", 1) for pair in args.peer)
    builders: dict[str, tuple[Callable[..., Pipeline], str | None]] = {
        "plain PyG loop": (plain_pyg, None),
        "DiffCSP, generation": (diffcsp, "diffcsp"),
        "DiffCSP, CSP": (diffcsp_csp, "diffcsp"),
        "MatterGen": (mattergen, "mattergen"),
        "OMatG": (omatg, "omatg"),
        "DiffCSP's CSPNet in our diffusion": (cspnet_inside, "diffcsp"),
    }
    install_shims("cpu")
    rows = []
    for title, (build, peer) in builders.items():
        if peer is None or peer in peers:
            checkout = None if peer is None else Path(peers[peer]).resolve()
            rows.append(run(title, build, items, checkout, args))
            print(_line(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", default="demo")
    add("--data-root", type=Path)
    add("--split", default="official")
    add("--peer", action="append", default=[], metavar="NAME=CHECKOUT")
    add("--crystals", type=int, default=512)
    add("--batch-size", type=int, default=32)
    add("--steps", type=int, default=200)
    add("--samples", type=int, default=16)
    add("--sampling-steps", type=int, default=50)
    add("--threads", type=int, default=1)
    add("--json", type=Path)
    return parser


def run(
    title: str,
    build: Callable[..., Pipeline],
    items: list[Data],
    checkout: Path | None,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Train for some steps, sample, and report."""
    torch.manual_seed(0)
    pipeline = build(items, checkout, args)
    optimizer = torch.optim.Adam(pipeline.module.parameters(), lr=1e-3)
    losses = []
    started = time.perf_counter()
    pipeline.module.train()
    for batch in itertools.islice(pipeline.batches, args.steps):
        optimizer.zero_grad()
        loss = pipeline.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(pipeline.module.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    seconds = time.perf_counter() - started
    pipeline.module.eval()
    with contextlib.redirect_stderr(io.StringIO()):
        crystals = pipeline.sample()
    finite = [
        c for c in crystals if np.isfinite(c.lattice).all() and np.isfinite(c.frac_coords).all()
    ]
    return {
        "pipeline": title,
        "commit": None if checkout is None else _commit(checkout),
        "adapter": f"{pipeline.adapter.__module__}.{pipeline.adapter.__name__}",
        "adapter_lines": _lines(pipeline.adapter),
        "steps": len(losses),
        "loss_first_20": float(np.mean(losses[:20])),
        "loss_last_20": float(np.mean(losses[-20:])),
        "training_seconds": round(seconds, 1),
        "samples": len(crystals),
        "finite": len(finite),
        "structurally_valid": sum(structural_problem(c) is None for c in finite),
    }


def _line(row: dict[str, Any]) -> str:
    commit = (row["commit"] or "-")[:7]
    return (
        f"{row['pipeline']:<34} commit {commit:<8} loss {row['loss_first_20']:.4g}"
        f" -> {row['loss_last_20']:.4g} over {row['steps']} steps; samples {row['finite']}/"
        f"{row['samples']} finite, {row['structurally_valid']} structurally valid; "
        f"{row['adapter']} ({row['adapter_lines']} lines)"
    )


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _lines(adapter: type) -> int:
    source = Path(sys.modules[adapter.__module__].__file__ or "").read_text(encoding="utf-8")
    return len([line for line in source.splitlines() if line.strip()])


def _forever(items: list[Any], size: int, **options: Any) -> Iterator[Any]:
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(items, size, shuffle=True, drop_last=True, generator=generator, **options)
    while True:
        yield from loader


def _crystals(lattice: Tensor, frac: Tensor, numbers: Tensor, sizes: Tensor) -> list[Crystal]:
    counts = sizes.tolist()
    parts = (frac.detach().cpu().split(counts), numbers.detach().cpu().split(counts))
    return [
        Crystal(cell.numpy(), f.numpy() % 1.0, z.clamp(1, 118).numpy())
        for cell, f, z in zip(lattice.detach().cpu(), *parts, strict=True)
    ]


def plain_pyg(items: list[Data], checkout: None, args: argparse.Namespace) -> Pipeline:
    """Denoise Cartesian displacements of 0.03 to 1 Angstrom, then relax random ones away."""
    del checkout
    data = [
        Data(z=d.atomic_numbers, pos=d.frac_coords @ d.lattice[0], cell=d.lattice) for d in items
    ]
    net = adapters.PyGDenoiser(64, **NETWORK)
    levels = torch.logspace(0, -1.5, 10)

    def noisy(batch: Batch, level: Tensor) -> tuple[Batch, Tensor]:
        noise = torch.randn_like(batch.pos)
        moved = batch.clone()
        moved.pos = batch.pos + levels[level][batch.batch, None] * noise
        return moved, noise

    def loss(batch: Batch) -> Tensor:
        level = torch.randint(len(levels), (batch.num_graphs,))
        moved, noise = noisy(batch, level)
        return (net(moved, 100.0 * level)[0] - noise).square().mean()

    def sample() -> list[Crystal]:
        batch = Batch.from_data_list(data[: args.samples])
        state, _ = noisy(batch, torch.zeros(batch.num_graphs, dtype=torch.long))
        with torch.no_grad():
            for k, sigma in enumerate(levels):
                t = torch.full((batch.num_graphs,), 100.0 * k)
                state.pos = state.pos - 0.5 * sigma * net(state, t)[0]
        frac = (state.pos.unsqueeze(1) @ state.cell.inverse()[state.batch]).squeeze(1)
        return _crystals(state.cell, frac, state.z, state.batch.bincount())

    return Pipeline("", adapters.PyGDenoiser, net, _forever(data, args.batch_size), loss, sample)


def _import_diffcsp(checkout: Path) -> None:
    os.environ.setdefault("PROJECT_ROOT", str(checkout))
    folder = Path.cwd()
    sys.path.insert(0, str(checkout))
    import diffcsp.common.utils  # noqa: F401  (it changes the working directory)

    os.chdir(folder)


def diffcsp(
    items: list[Data], checkout: Path, args: argparse.Namespace, config: str = "diffusion_w_type"
) -> Pipeline:
    """DiffCSP's ``CSPDiffusion`` as its configuration builds it, with another decoder."""
    _import_diffcsp(checkout)
    from hydra.utils import instantiate

    folder = checkout / "conf" / "model"
    settings = OmegaConf.load(folder / f"{config}.yaml")
    del settings["defaults"]
    for part, name in (("beta_scheduler", "cosine"), ("sigma_scheduler", "wrapped")):
        settings[part] = OmegaConf.load(folder / part / f"{name}.yaml")
        if "timesteps" in settings[part]:
            settings[part].timesteps = args.sampling_steps
    settings.timesteps = args.sampling_steps
    settings.decoder = {"_target_": "pyg_crysdiff.adapters.DiffCSPDecoder", **NETWORK}
    OmegaConf.update(settings, "optim", {"lr": 1e-3}, force_add=True)
    module = instantiate(settings, _recursive_=False)
    data = diffcsp_data(items)

    def sample() -> list[Crystal]:
        batch = Batch.from_data_list(data[: args.samples])
        final, _ = module.sample(batch)
        types = final["atom_types"]
        numbers = types.argmax(-1) + 1 if types.dim() == 2 else types
        return _crystals(final["lattices"], final["frac_coords"], numbers, batch.num_atoms)

    batches = _forever(data, args.batch_size)
    return Pipeline(
        "", adapters.DiffCSPDecoder, module, batches, lambda b: module(b)["loss"], sample
    )


def diffcsp_csp(items: list[Data], checkout: Path, args: argparse.Namespace) -> Pipeline:
    """The same in CSP mode: species are given."""
    return diffcsp(items, checkout, args, "diffusion")


def mattergen(items: list[Data], checkout: Path, args: argparse.Namespace) -> Pipeline:
    """MatterGen's ``DiffusionModule`` as its configuration builds it, with another model."""
    sys.path.insert(0, str(checkout))
    from hydra.utils import instantiate
    from mattergen.common.data.collate import collate

    data = mattergen_data(items)
    folder = checkout / "mattergen" / "conf" / "lightning_module" / "diffusion_module"
    module_config = OmegaConf.load(folder / "default.yaml")
    corruption = OmegaConf.load(folder / "corruption" / "default.yaml")
    OmegaConf.update(corruption, "sdes.cell.vpsde_config.limit_density", limit_density(items))
    steps = args.sampling_steps
    OmegaConf.update(
        corruption, "discrete_corruptions.atomic_numbers.d3pm.schedule.num_steps", steps
    )
    module_config.corruption = corruption
    module_config.model = {
        "_target_": "pyg_crysdiff.adapters.MatterGenDenoiser", "hidden_dim": 64, **NETWORK
    }  # fmt: skip
    module = instantiate(module_config)

    def batches() -> Iterator[Any]:
        rng = np.random.default_rng(0)
        while True:
            yield collate([data[k] for k in rng.permutation(len(data))[: args.batch_size]])

    def sample() -> list[Crystal]:
        sampler_config = OmegaConf.load(checkout / "sampling_conf" / "default.yaml").sampler_partial
        sampler_config.N, sampler_config.eps_t = steps, 1 / steps
        lightning = type("Lightning", (), {"diffusion_module": module, "device": "cpu"})
        sampler = instantiate(sampler_config)(pl_module=lightning)
        final, _ = sampler.sample(collate(data[: args.samples]))
        return _crystals(final.cell, final.pos, final.atomic_numbers, final.num_atoms)

    return Pipeline(
        "", adapters.MatterGenDenoiser, module, batches(), lambda b: module.calc_loss(b)[0], sample
    )


def omatg(items: list[Data], checkout: Path, args: argparse.Namespace) -> Pipeline:
    """OMatG's ``OMGLightning`` as its example configuration builds it, with another encoder."""
    sys.path.insert(0, str(checkout))
    from jsonargparse import ArgumentParser
    from omg.datamodule import OMGData
    from omg.omg_lightning import OMGLightning

    from pyg_crysdiff.adapters.omatg import OMatGEncoder

    settings = OmegaConf.load(checkout / "omg/conf_examples/dng_linear_sde_mp_20.yaml").model
    settings.model.init_args.encoder = {
        "class_path": "pyg_crysdiff.adapters.omatg.OMatGEncoder",
        "init_args": {"latent_dim": 256, **NETWORK},
    }
    settings.si.init_args.integration_time_steps = args.sampling_steps
    coordinates = settings.si.init_args.stochastic_interpolants[1].init_args
    coordinates.integrator_kwargs.dt = 1.0 / args.sampling_steps
    parser = ArgumentParser()
    parser.add_class_arguments(OMGLightning, "model", fail_untyped=False)
    plain = {"model": OmegaConf.to_container(settings, resolve=True)}
    module = parser.instantiate(parser.parse_object(plain)).model
    module.log_dict = lambda *_, **__: None
    data = []
    for d in items:
        entry = OMGData()
        entry.n_atoms = torch.tensor([len(d.atomic_numbers)])
        entry.species, entry.pos, entry.cell = d.atomic_numbers, d.frac_coords, d.lattice
        entry.pos_is_fractional = torch.tensor([True])
        entry.num_nodes = len(d.atomic_numbers)
        entry.property = {}
        data.append(entry)

    def sample() -> list[Crystal]:
        batch = Batch.from_data_list(data[: args.samples])
        final = module.si.integrate(module.sampler.sample_p_0(batch), module.model)
        final = final[0] if isinstance(final, tuple) else final
        return _crystals(final.cell, final.pos, final.species, final.n_atoms)

    return Pipeline(
        "", OMatGEncoder, module, _forever(data, args.batch_size), module.training_step, sample
    )


def cspnet_inside(items: list[Data], checkout: Path, args: argparse.Namespace) -> Pipeline:
    """The other way round: DiffCSP's network as the denoiser of our joint diffusion."""
    _import_diffcsp(checkout)
    from diffcsp.pl_modules.cspnet import CSPNet

    from pyg_crysdiff.configuration import compose_config
    from pyg_crysdiff.data.statistics import DataStatistics
    from pyg_crysdiff.diffusion.sampler import Sampler
    from pyg_crysdiff.models import CrystalDiffusion, build_process

    statistics = DataStatistics.from_dataset(items)
    process = build_process(compose_config([])["process"], statistics)
    cspnet = CSPNet(
        hidden_dim=64, latent_dim=64, num_layers=3, pred_type=True, smooth=True, num_freqs=10
    )
    denoiser = adapters.DiffCSPDenoiser(cspnet, len(statistics.elements), latent_dim=64)
    model = CrystalDiffusion(denoiser, process, statistics)
    generator = torch.Generator().manual_seed(0)

    def sample() -> list[Crystal]:
        sizes = [len(d.atomic_numbers) for d in items[: args.samples]]
        sampler = Sampler.of("paper", steps=args.sampling_steps)
        final = list(model.generate(sizes, list(range(len(sizes))), sampler))[-1][1]
        return model.crystals(final)

    batches = _forever(items, args.batch_size)
    return Pipeline(
        "", adapters.DiffCSPDenoiser, model, batches,
        lambda b: model.loss(b, generator)["total"], sample,
    )  # fmt: skip


if __name__ == "__main__":
    main()
