"""Time our model against a peer's: same crystals, same batch, same threads, one run.

    python benchmarks/throughput.py --peer diffcsp=CHECKOUT --data-root DATA --json throughput.json

Each side is measured in a child process of its own, in turns (ours, peer, ours, peer, ...), so
that a change of the machine's speed meets both. Measured: training steps (forward, backward, clip,
optimiser), denoiser evaluations, and sampling at the same number of steps with one corrector move
per step (two evaluations), from a stretch of the reverse process extrapolated to all of it.
Printed: structures/s of both, their ratio, peak memory, and for ours the share of the machine's
measured rate of matrix products. Each model has its published or default configuration and random
weights.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import statistics as stats
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.data import Batch, Data

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.platform import choose_precision, keep_freed_memory
from pyg_crysdiff.training import compose_config

T = 1000


def main() -> None:
    """Measure, print and write ratios."""
    parser = argparse.ArgumentParser(description="Our model against a peer's, side by side.")
    parser.add_argument("--peer", required=True, metavar="diffcsp=CHECKOUT")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--datasets", default="perov5,carbon24,mp20")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--conditioner", default="cds", help="ours: cdi or cds")
    parser.add_argument("--precision", default="auto", help="ours: auto, 32-true, bf16-mixed")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=["ours", "peer"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    name, _, checkout = args.peer.partition("=")
    if name != "diffcsp" or not (Path(checkout) / "diffcsp").is_dir():
        parser.error("--peer takes diffcsp=CHECKOUT, the folder of a DiffCSP checkout")
    if args.side:
        print(json.dumps(measure(args, Path(checkout).resolve())))
        return
    table = []
    for dataset in args.datasets.split(","):
        rounds: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
        for _ in range(args.rounds):
            for side, found in rounds.items():
                found.append(child(side, dataset))
        table.append(compare(dataset, rounds, args))
    if args.json:
        args.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def child(side: str, dataset: str) -> dict[str, Any]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--datasets", dataset]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{side} on {dataset} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def compare(
    dataset: str, rounds: dict[str, list[dict[str, Any]]], args: argparse.Namespace
) -> dict[str, Any]:
    """Print medians and ratios of one data set."""
    keys = ("train", "evaluate", "sample", "peak_gib")
    middle = {
        side: {key: stats.median(r[key] for r in found) for key in keys}
        for side, found in rounds.items()
    }
    ours, peer = rounds["ours"][0], rounds["peer"][0]
    print(
        f"\n{dataset}: batch {args.batch}, {ours['mean_atoms']:.1f} atoms on average, "
        f"{args.threads} thread(s), median of {args.rounds}; ours {ours['num_parameters']:,} "
        f"parameters ({ours['precision']}), DiffCSP {peer['num_parameters']:,} (fp32)"
    )
    labels = {"train": "training", "evaluate": "denoiser", "sample": f"sampling, T = {T}, p.-c."}
    ratios = {}
    for key, label in labels.items():
        ratios[key] = middle["ours"][key] / middle["peer"][key]
        print(
            f"  {label:<24} {middle['ours'][key]:10.3g} structures/s   DiffCSP "
            f"{middle['peer'][key]:10.3g}   ratio {ratios[key]:6.1f}"
        )
    print(f"  peak memory              {middle['ours']['peak_gib']:10.2f} GiB            DiffCSP "
          f"{middle['peer']['peak_gib']:10.2f}")  # fmt: skip
    rate, best = ours["train_gflops"], ours["machine_gflops"]
    print(f"  ours in training: {rate:.0f} of {best:.0f} GFLOP/s ({100 * rate / best:.0f} %)")
    return {"dataset": dataset, "ratios": ratios, "median": middle, "rounds": rounds}


def measure(args: argparse.Namespace, checkout: Path) -> dict[str, Any]:
    """Measure one side on one data set."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    (dataset,) = args.datasets.split(",")
    crystals = load_dataset(dataset, "test", source=args.data_root, scheme="official")
    items = [crystals[i] for i in range(2 * args.batch)]
    if args.side == "ours":
        functions = our_functions(items, args)
    else:
        functions = diffcsp_functions(items, checkout)
    batches = [items[: args.batch], items[args.batch :]]
    result: dict[str, Any] = {
        "mean_atoms": sum(d.num_nodes for d in items) / len(items),
        "num_parameters": functions["num_parameters"],
        "precision": functions["precision"],
    }
    train, evaluate, sample = (functions[k] for k in ("train", "evaluate", "sample"))
    result["train"] = rate_of(lambda k: train(k % 2), args.batch, at_least=4.0)
    result["evaluate"] = rate_of(lambda k: evaluate(k % 2), args.batch, at_least=2.0)
    # one "call" is one step of the reverse process for a whole batch
    steps = rate_of(sample(batches[0]), args.batch, at_least=3.0)
    result["sample"] = steps / T
    # The child's own peak, in GiB (ru_maxrss is in KiB on Linux).
    result["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if args.side == "ours":
        with FlopCounterMode(display=False) as counter:
            train(0)
        result["train_gflops"] = counter.get_total_flops() * result["train"] / args.batch / 1e9
        result["machine_gflops"] = machine_rate(functions["precision"])
    return result


def rate_of(call: Callable[[int], Any], batch: int, at_least: float) -> float:
    """Structures per second of repeated calls, after two to warm up."""
    call(0), call(1)
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < at_least or count < 3:
        call(count)
        count += 1
    return batch * count / elapsed


def machine_rate(precision: str) -> float:
    """Rate of large matrix products in GFLOP/s."""
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    rate = rate_of(lambda _: a @ b, 1, at_least=1.0)
    return 2 * 2048**3 * rate / 1e9


def our_functions(items: list[Data], args: argparse.Namespace) -> dict[str, Any]:
    """Training step, evaluation and reverse steps of this package's default model."""
    device = torch.device("cpu")
    config = compose_config([f"conditioner={args.conditioner}"])
    names = [key for key in items[0].keys() if key.endswith(("_per_atom", "heat_ref"))][:1]  # noqa: SIM118
    model = build_model(config, DataStatistics.from_dataset(items, names))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    precision = choose_precision(args.precision, device)
    half = precision == "bf16-mixed"
    batches = [Batch.from_data_list(items[: args.batch]), Batch.from_data_list(items[args.batch :])]
    generator = torch.Generator().manual_seed(0)

    def train(k: int) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model.loss(batches[k], generator)["total"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

    states = [model.state(b) for b in batches]
    conditions = [{name: b[name].view(-1) for name in model.properties} for b in batches]

    @torch.inference_mode()
    def evaluate(k: int) -> None:
        t = torch.full((args.batch,), 500)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            model.denoise(states[k].num_atoms, conditions[k])(states[k], t)

    def sample(data: list[Data]) -> Callable[[int], Any]:
        steps = _repeated(lambda: reverse(data))

        def step(_: int) -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                next(steps)

        return step

    def reverse(data: list[Data]) -> Iterator[Any]:
        sizes = [int(d.num_nodes) for d in data]
        seeds = [crystal_seed(0, i) for i in range(len(data))]
        return model.generate(sizes, seeds, list(range(T, -1, -1)), conditions[0])

    return {
        "train": train, "evaluate": evaluate, "sample": sample, "precision": precision,
        "num_parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip


def _repeated(make: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    while True:
        yield from make()


def diffcsp_functions(items: list[Data], checkout: Path) -> dict[str, Any]:
    """The same of DiffCSP's ``CSPDiffusion`` with type generation, its published configuration."""
    shims = importlib.import_module("pyg_crysdiff.baselines.shims")
    shims.install_shims("cpu")
    os.environ.update(PROJECT_ROOT=str(checkout), HYDRA_JOBS="/tmp", WABDB_DIR="/tmp")
    sys.path.insert(0, str(checkout))
    hydra = importlib.import_module("hydra")
    with hydra.initialize_config_dir(str(checkout / "conf"), version_base="1.1"):
        config = hydra.compose("default", overrides=["model=diffusion_w_type", "data=mp_20"])
    parts = {"optim": config.optim, "data": config.data, "logging": config.logging}
    model = hydra.utils.instantiate(config.model, **parts, _recursive_=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    data = [_for_diffcsp(d) for d in items]
    half = len(data) // 2
    batches = [Batch.from_data_list(data[:half]), Batch.from_data_list(data[half:])]

    def train(k: int) -> None:
        loss = model(batches[k])["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()

    inputs = [_decoder_inputs(model, b) for b in batches]

    @torch.inference_mode()
    def evaluate(k: int) -> None:
        model.decoder(*inputs[k])

    def sample(_: list[Data]) -> Callable[[int], Any]:
        # One step of CSPDiffusion.sample is two calls of the decoder and cheap arithmetic, which is
        # left out here: a bound in the peer's favour.
        def step(_: int) -> None:
            evaluate(0)
            evaluate(0)

        return step

    return {
        "train": train, "evaluate": evaluate, "sample": sample, "precision": "32-true",
        "num_parameters": sum(p.numel() for p in model.decoder.parameters()),
    }  # fmt: skip


def _for_diffcsp(data: Data) -> Data:
    lattice = data.lattice[0].double()
    lengths = lattice.norm(dim=1)
    unit = lattice / lengths[:, None]
    cosines = torch.stack([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    return Data(
        frac_coords=data.frac_coords.float(),
        atom_types=data.atomic_numbers.long(),
        lengths=lengths.float().view(1, 3),
        angles=torch.rad2deg(torch.arccos(cosines)).float().view(1, 3),
        num_atoms=int(data.num_nodes),
        num_nodes=int(data.num_nodes),
    )


def _decoder_inputs(model: Any, batch: Batch) -> tuple[Tensor, ...]:
    times = torch.full((batch.num_graphs,), 500)
    with torch.no_grad():
        embedded = model.time_embedding(times)
    types = torch.randn(batch.num_nodes, 100)
    lattices = torch.randn(batch.num_graphs, 3, 3)
    return embedded, types, batch.frac_coords, lattices, batch.num_atoms, batch.batch


if __name__ == "__main__":
    main()
