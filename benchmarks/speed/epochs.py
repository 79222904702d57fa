"""Epoch and sampling times for sets of the size of Perov-5, Carbon-24 and MP-20, on any device.

    python benchmarks/speed/epochs.py --device cuda  # made-up crystals of the same sizes
    python benchmarks/speed/epochs.py --device cuda --data-root DATA  # the sets themselves
    python benchmarks/speed/epochs.py --device cuda --forms plain,kernel,compiled --seconds 6

One script for a GPU: the resident batches, the training step and the samplers that `crysdiff train`
and `crysdiff sample` use, with the share of the device's rate of matrix products and the peak of
its memory. With --epochs it tells what a training of that length takes. With --forms it first says
whether the kernel of the attention over pairs agrees with the plain form on this device, and then
measures several forms side by side: the plain one, the kernel (C on a processor, Triton on a GPU),
the plain one compiled by PyTorch. The third command is meant for 8 minutes of a GPU; that was not
tried on one. --datasets takes fewer sets.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from operations import matrix_operations
from throughput_scaling import made_up
from throughput_sides import T
from timing import matrix_rate, rate_of, wait
from torch_geometric.data import Data

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.data.properties import names_of
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.nn import pair_attention
from pyg_crysdiff.nn.pair_plain import plain
from pyg_crysdiff.platform import choose_device, choose_precision, keep_freed_memory
from pyg_crysdiff.training import compose_config
from pyg_crysdiff.training.resident import ResidentBatches

FORMS = ("plain", "kernel", "compiled")
# Training crystals, smallest and largest number of atoms and its step, by data set.
SETS = {"perov5": (11_356, 5, 5, 1), "carbon24": (6_091, 6, 24, 2), "mp20": (27_136, 1, 20, 1)}


def main() -> None:
    """Measure every set and print a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", default="auto")
    add("--data-root", type=Path)
    add("--split", default="official")
    add("--datasets", default=",".join(SETS))
    add("--batch", type=int, default=512)
    add("--samples", type=int, default=1024, help="crystals per batch in sampling")
    add("--few-steps", type=int, default=150)
    add("--epochs", type=int, default=1000, help="length of a training, for its time")
    add("--seconds", type=float, default=20.0, help="least time of a measurement")
    add("--conditioner", default="cds")
    add("--precision", default="auto")
    add("--forms", default="kernel", help=f"of the attention over pairs: {', '.join(FORMS)}")
    add("--out", type=Path)
    args = parser.parse_args()
    device = choose_device(args.device)
    keep_freed_memory()
    rows = []
    forms = args.forms.split(",")
    if unknown := [form for form in forms if form not in FORMS]:
        parser.error(f"--forms: there is no {unknown[0]!r}, but {', '.join(FORMS)}")
    if forms != ["kernel"]:
        print(f"kernel agrees with the plain form here: {kernel_agrees(device)}", flush=True)
    for name in args.datasets.split(","):
        items, first = crystals_of(name, args), len(rows)
        for form in forms:
            with served_by(form):
                rows.append({"form": form, **measure(name, items, device, args, form)})
            rows[-1] |= ratios(rows[first], rows[-1])
            print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                            for k, v in rows[-1].items()), flush=True)  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def kernel_agrees(device: torch.device) -> bool:
    """Whether there is a kernel for a device that does what the plain form does."""
    if device.type == "cpu":
        return pair_attention.native_agrees()
    return pair_attention.triton_form(device) is not None


@contextmanager
def served_by(form: str) -> Iterator[None]:
    """Let the plain form serve in place of the kernel, unless that is wanted."""
    if form == "kernel":
        yield
        return
    with patch.object(pair_attention, "_form_for", lambda _: plain):
        yield


def ratios(first: dict[str, Any], row: dict[str, Any]) -> dict[str, float]:
    """Return how many times as fast a form is as the first one."""
    if row is first:
        return {}
    rates = ("training_per_s", "sampling_T1000_per_s", "few_steps_per_s")
    return {f"{name}_ratio": row[name] / first[name] for name in rates}


def crystals_of(name: str, args: argparse.Namespace) -> list[Data]:
    """The training set, or as many made-up crystals of the same sizes."""
    if args.data_root is None:
        count, low, high, step = SETS[name]
        choices = range(low, high + 1, step)
        sizes = [choices[crystal_seed(0, i) % len(choices)] for i in range(count)]
        return made_up(sizes)
    found = load_dataset(name, "train", source=args.data_root, scheme=args.split)
    return [found[k] for k in range(len(found))]


def measure(
    name: str, items: list[Data], device: torch.device, args: argparse.Namespace, form: str
) -> dict[str, Any]:
    """Time training and sampling on one set."""
    wanted = (names_of(items[0]) or [])[:1]
    config = compose_config([f"conditioner={args.conditioner}"])
    model = build_model(config, DataStatistics.from_dataset(items, wanted)).to(device)
    if form == "compiled":
        model.denoiser.compile(dynamic=True)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    half = choose_precision(args.precision, device) == "bf16-mixed"
    batches = ResidentBatches(items, args.batch, range(len(items)), device)
    generator = torch.Generator().manual_seed(0)
    stream = endless(batches)

    def train(_: int) -> None:
        batch = next(stream)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = model.loss(batch, generator)["total"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

    rate = rate_of(train, args.batch, args.seconds)
    gflops = matrix_operations(partial(train, 0)) * rate / args.batch / 1e9
    epoch = len(items) / rate
    row = {
        "set": name,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "crystals": len(items),
        "batch": args.batch,
        "training_per_s": rate,
        "epoch_s": epoch,
        f"minutes_for_{args.epochs}_epochs": epoch * args.epochs / 60,
        "gflops": gflops,
        "share_of_matrix_rate": gflops
        / matrix_rate(device, torch.bfloat16 if half else torch.float32),
    }
    sizes = [int(d.num_nodes or 0) for d in items[: args.samples]]
    condition = {key: torch.zeros(len(sizes), device=device) for key in wanted}
    samplers = {
        "sampling_T1000_per_s": Sampler("ancestral", T, corrector_steps=1),
        "few_steps_per_s": Sampler("renewing", args.few_steps),
    }
    for label, sampler in samplers.items():
        seeds = [crystal_seed(0, i) for i in range(len(sizes))]
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            states = model.generate(sizes, seeds, sampler, condition)
            row[label] = along(states, len(sizes), args.seconds) / len(sampler.times(T)[1:])
    if device.type == "cuda":
        row["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return row


def endless(batches: ResidentBatches) -> Any:
    """Epoch after epoch."""
    while True:
        yield from batches


def along(states: Any, count: int, seconds: float) -> float:
    """Crystal steps per second of a stretch of the reverse process."""
    next(states)
    wait()
    start, steps = time.perf_counter(), 0
    for _ in states:
        wait()
        steps += 1
        if time.perf_counter() - start > seconds:
            break
    return count * steps / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
