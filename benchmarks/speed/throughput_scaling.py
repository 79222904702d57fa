"""What a step costs as crystals grow, and a sample as their number grows (for throughput.py)."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from throughput_sides import ours
from timing import child, peak_gib, rate_of
from torch_geometric.data import Data

from pyg_crysdiff.data.properties import set_properties
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.platform import choose_device, keep_freed_memory
from pyg_crysdiff.sampling.batches import cut_batches
from pyg_crysdiff.training import compose_config

ATOMS = (5, 10, 20, 52, 100, 200)
CRYSTALS = (100, 1_000, 10_000)
_PAIRS = 12_800  # pairs of atoms per batch, the same for all sizes


def scaling(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure crystals of equal size, then samples of growing number; each in its own process."""
    if args.side is None:
        rows = [child(f"atoms:{n}") for n in ATOMS]
        print(
            f"{'atoms':>8}{'batch':>8}{'training/s':>12}{'denoiser/s':>12}{'us/pair':>9}{'GiB':>7}"
        )
        for row in rows:
            print(f"{row['atoms']:8}{row['batch']:8}{row['train']:12.3g}{row['evaluate']:12.3g}"
                  f"{row['us_per_pair']:9.2f}{row['peak_gib']:7.2f}")  # fmt: skip
        many = [child(f"crystals:{n}") for n in CRYSTALS]
        print(f"{'crystals':>9}{'batches':>9}{'s per denoiser evaluation of all':>34}{'GiB':>7}")
        for row in many:
            print(f"{row['crystals']:9}{row['batches']:9}{row['seconds']:34.3g}"
                  f"{row['peak_gib']:7.2f}")  # fmt: skip
        return rows + many
    kind, _, number = args.side.partition(":")
    measure = atoms if kind == "atoms" else crystals
    print(json.dumps(measure(int(number), args)))
    return []


def atoms(n: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate on made-up crystals of n atoms, batches of about equal pairs."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    batch = max(2, _PAIRS // (n * n))
    items = made_up([n] * (2 * batch))
    side = ours(items, args.conditioner, args.precision, choose_device(args.device))
    train = rate_of(lambda k: side.train(k % 2), batch, args.seconds)
    evaluate = rate_of(lambda k: side.evaluate(k % 2), batch, args.seconds / 2)
    return {
        "atoms": n,
        "batch": batch,
        "train": train,
        "evaluate": evaluate,
        "us_per_pair": 1e6 / (train * n * n),
        "peak_gib": peak_gib(),
    }


def crystals(count: int, args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate the denoiser once on every crystal of a sample, in the batches it would have."""
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    device = choose_device(args.device)
    sizes = [2 + crystal_seed(0, i) % 19 for i in range(count)]
    items = made_up(sizes[:64])
    config = compose_config([f"conditioner={args.conditioner}"])
    model = build_model(config, DataStatistics.from_dataset(items, ["energy"])).to(device)
    batches = cut_batches(sizes, None, device)
    start = time.perf_counter()
    for batch in batches:
        own = [sizes[i] for i in batch]
        condition = {"energy": torch.zeros(len(own), device=device)}
        seeds = [crystal_seed(0, i) for i in batch]
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision != "32-true"):
            # one step of one evaluation, from T to clean
            for _ in model.generate(own, seeds, Sampler("ancestral", 1), condition):
                pass
    return {
        "crystals": count,
        "batches": len(batches),
        "seconds": time.perf_counter() - start,
        "peak_gib": peak_gib(),
    }


def made_up(sizes: list[int]) -> list[Data]:
    """Random atoms in cubes of 12 cubic Angstrom per atom."""
    generator = torch.Generator().manual_seed(0)
    items = [
        Data(
            atomic_numbers=torch.randint(1, 80, (n,), generator=generator),
            frac_coords=torch.rand(n, 3, generator=generator),
            lattice=((12.0 * n) ** (1 / 3) * torch.eye(3)).unsqueeze(0),
            num_atoms=torch.tensor([n]),
            num_nodes=n,
        )
        for n in sizes
    ]
    energies = torch.randn(len(items), generator=generator).tolist()
    return [set_properties(data, {"energy": x}) for data, x in zip(items, energies, strict=True)]
