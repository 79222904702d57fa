"""Time our model against peers: the same crystals, batch size and threads, in one run.

    python benchmarks/speed/throughput.py --data-root DATA --peer diffcsp=CHECKOUT \
        --peer mattergen=CHECKOUT --peer crystalite=CHECKOUT --out throughput.json
    python benchmarks/speed/throughput.py --scaling  # cost by atoms and by number of crystals

Each side is measured in a process of its own. The sides take turns (ours, peer, ours, peer, ...),
so that a change of the machine's speed meets both. Each model has its published or default
configuration and random weights.

Three things are timed: training steps (forward, backward, clipping, optimiser), evaluations of the
denoiser, and sampling. A peer's sampling time is the number of network calls of its published
sampler times the cost of one. This leaves out all else that its sampler does, which favours the
peer. For ours a stretch of the whole reverse process is timed and extrapolated, once at equal steps
(T = 1000, predictor and corrector) and once with the few-step sampler (--few-steps, renewing),
whose quality benchmarks/studies/few_steps.py compares.

Printed are structures per second of both, their ratios and the peak memory; for ours also the share
of the rate of matrix products that this machine reaches.
"""

from __future__ import annotations

import argparse
import json
import statistics as stats
from functools import partial
from pathlib import Path
from typing import Any

import torch
from operations import matrix_operations
from throughput_scaling import scaling
from throughput_sides import PEERS, T, ours
from timing import child, matrix_rate, peak_gib, rate_of

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.platform import choose_device, keep_freed_memory

KEYS = ("train", "evaluate", "sample", "few", "peak_gib")


def main() -> None:
    """Measure, print and write ratios."""
    args = parse()
    if args.scaling:
        table = scaling(args)
    elif args.side:
        print(json.dumps(measure(args)))
        return
    else:
        table = [row for dataset in args.datasets.split(",") for row in compare(dataset, args)]
    if args.out and not args.side:
        args.out.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Our model against peers', side by side.")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=CHECKOUT", help=", ".join(PEERS)
    )
    parser.add_argument("--data-root", type=Path, help="folder of the published sets")
    parser.add_argument("--datasets", default="perov5,carbon24,mp20")
    parser.add_argument("--folder", help="other folder of the data set under --data-root")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=4.0, help="least time of a measurement")
    parser.add_argument("--few-steps", type=int, default=150, help="steps of our few-step sampler")
    parser.add_argument("--conditioner", default="cds", help="ours: cdi, cds or adaln")
    parser.add_argument("--precision", default="auto", help="ours: auto, 32-true, bf16-mixed")
    parser.add_argument("--device", default="cpu", help="ours; peers run on the processor")
    parser.add_argument("--scaling", action="store_true", help="ours by atoms and by crystals")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.peers = dict(item.split("=", 1) for item in args.peer)
    for name, checkout in args.peers.items():
        if name not in PEERS or not Path(checkout).is_dir():
            parser.error(f"--peer takes NAME=CHECKOUT with NAME of {list(PEERS)}, not {name!r}")
    if not args.scaling and args.data_root is None:
        parser.error("--data-root is needed: the folder of the published sets")
    return args


def compare(dataset: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all sides on one data set in turns, and print a row for each peer."""
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in ("ours", *args.peers)}
    for _ in range(args.rounds):
        for side, found in rounds.items():
            found.append(child(side, "--datasets", dataset))
    middle = {
        side: {key: stats.median(r[key] for r in found if key in r) for key in found[0]
               if key in KEYS}
        for side, found in rounds.items()
    }  # fmt: skip
    first = rounds["ours"][0]
    mine = middle["ours"]
    print(
        f"\n{dataset}: batch {args.batch}, {first['mean_atoms']:.1f} atoms on average, "
        f"{args.threads} thread(s), median of {args.rounds}"
    )
    print(f"  {'':<12}{'parameters':>12}{'training':>10}{'denoiser':>10}{'sampling':>10}"
          f"{'few steps':>11}{'GiB':>7}   structures/s")  # fmt: skip
    rows = []
    for side, found in middle.items():
        few = f"{found['few']:11.3g}" if "few" in found else " " * 11
        print(f"  {side:<12}{rounds[side][0]['num_parameters']:12,}{found['train']:10.3g}"
              f"{found['evaluate']:10.3g}{found['sample']:10.3g}{few}"
              f"{found['peak_gib']:7.2f}")  # fmt: skip
        if side == "ours":
            continue
        ratios = {key: mine[key] / found[key] for key in ("train", "evaluate", "sample")}
        ratios["few"] = mine["few"] / found["sample"]
        print(f"  {'ratio':<12}{'':12}{ratios['train']:10.1f}{ratios['evaluate']:10.1f}"
              f"{ratios['sample']:10.1f}{ratios['few']:11.0f}")  # fmt: skip
        rows.append(
            {
                "dataset": dataset,
                "peer": side,
                "batch": args.batch,
                "few_steps": args.few_steps,
                "ratios": ratios,
                "median": {"ours": mine, side: found},
                "rounds": {"ours": rounds["ours"], side: rounds[side]},
            }
        )
    for what, rate in (("training", first["train_gflops"]), ("denoiser", first["eval_gflops"])):
        best = first["machine_gflops"]
        print(f"  ours, {what}: {rate:.0f} of {best:.0f} GFLOP/s ({100 * rate / best:.0f} %)")
    return rows


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure one side on one data set."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    keep_freed_memory()
    options = {} if args.folder is None else {"folder": args.folder}
    source = args.data_root
    crystals = load_dataset(args.datasets, "test", source=source, scheme="official", **options)
    items = [crystals[i] for i in range(2 * args.batch)]
    if args.side == "ours":
        side = ours(items, args.conditioner, args.precision, choose_device(args.device))
    else:
        side = PEERS[args.side](items, Path(args.peers[args.side]).resolve())
    result: dict[str, Any] = {
        "mean_atoms": sum(int(d.num_nodes or 0) for d in items) / len(items),
        "num_parameters": sum(p.numel() for p in side.model.parameters()),
        "precision": side.precision,
        "train": rate_of(lambda k: side.train(k % 2), args.batch, args.seconds),
        "evaluate": rate_of(lambda k: side.evaluate(k % 2), args.batch, args.seconds / 2),
    }
    if side.reverse is None:
        result["sample"] = result["evaluate"] / side.evaluations
    else:
        for key, setting in (
            ("sample", ("ancestral", T, 1)),
            ("few", ("renewing", args.few_steps, 0)),
        ):
            # One call is one step of the reverse process for a whole batch.
            rate = rate_of(side.reverse(*setting), args.batch, args.seconds)
            result[key] = rate / setting[1]
        result |= against_roofline(side, result, args.batch)
    result["peak_gib"] = peak_gib()
    return result


def against_roofline(side: Any, rates: dict[str, float], batch: int) -> dict[str, float]:
    """Arithmetic of matrix products per second, and the rate of large ones on this machine."""
    out = {}
    for key, call in (("train", side.train), ("eval", side.evaluate)):
        rate = rates["train" if key == "train" else "evaluate"]
        out[f"{key}_gflops"] = matrix_operations(partial(call, 0)) * rate / batch / 1e9
    dtype = torch.bfloat16 if side.precision == "bf16-mixed" else torch.float32
    device = next(side.model.parameters()).device
    out["machine_gflops"] = matrix_rate(device, dtype)
    return out


if __name__ == "__main__":
    main()
