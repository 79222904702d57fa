"""What benchmarks/gpu.py measures: parts, each a list of measurements with their labels.

A part runs in a process of its own. A measurement is a label and a call, so that one that fails
leaves the others be.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from device_sets import SETS, crystals_of, drawn_sizes
from operations import matrix_operations
from throughput_sides import T, diffcsp
from timing import matrix_rate, peak_gib, rate_along, rate_of, wait
from torch_geometric.data import Data

from pyg_crysdiff.data.properties import names_of
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.models.crystal_diffusion import CrystalDiffusion
from pyg_crysdiff.nn import pair_attention
from pyg_crysdiff.nn.pair_plain import plain
from pyg_crysdiff.platform import choose_precision
from pyg_crysdiff.sampling.batches import cut_batches
from pyg_crysdiff.sampling.generate import Provenance, generate
from pyg_crysdiff.training import compose_config
from pyg_crysdiff.training.resident import ResidentBatches

FORMS = ("kernel", "recorded", "plain", "compiled")
FULL = Sampler("ancestral", T, corrector_steps=1)  # of the paper: 2 T network calls
Measurement = tuple[dict[str, str], Callable[[], Any]]


def label(what: str, unit: str = "", form: str = "", data: str = "") -> dict[str, str]:
    """Return what a measurement is of."""
    return {"what": what, "unit": unit, "form": form, "set": data}


@contextmanager
def served_by(form: str) -> Iterator[None]:
    """Let the plain form of the attention serve, or record network calls, as a form wants it."""
    os.environ["CRYSDIFF_RECORD"] = "1" if form == "recorded" else "0"
    if form in ("kernel", "recorded"):
        yield
        return
    with patch.object(pair_attention, "_form_for", lambda _: plain):
        yield


def default_model(items: list[Data], args: argparse.Namespace) -> CrystalDiffusion:
    """Return the default network with random weights, the same in every call."""
    torch.manual_seed(0)
    small = ["denoiser.dim=16", "denoiser.num_blocks=1"] if args.tiny else []
    config = compose_config([f"conditioner={args.conditioner}", *small])
    model = build_model(config, DataStatistics.from_dataset(items, (names_of(items[0]) or [])[:1]))
    assert isinstance(model, CrystalDiffusion)
    return model


class OneSet:
    """Training and sampling on one set in one form.

    Args:
        data: Name of the set.
        form: One of :data:`FORMS`.
        device: Device.
        args: Settings of the command.
    """

    def __init__(
        self, data: str, form: str, device: torch.device, args: argparse.Namespace
    ) -> None:
        self.data, self.form, self.device, self.args = data, form, device, args
        self.half = choose_precision(args.precision, device) == "bf16-mixed"

    @cached_property
    def items(self) -> list[Data]:
        """The crystals."""
        return crystals_of(self.data, self.args)

    @cached_property
    def model(self) -> CrystalDiffusion:
        """The network on the device."""
        model = default_model(self.items, self.args).to(self.device)
        if self.form == "compiled":
            model.denoiser.compile(dynamic=True)  # type: ignore[attr-defined]
        return model

    @cached_property
    def step(self) -> Callable[[int], None]:
        """A training step: batch, loss, gradients, clipping, optimiser."""
        model, generator = self.model, torch.Generator().manual_seed(0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        batches = ResidentBatches(self.items, self.args.batch, range(len(self.items)), self.device)
        stream = endless(batches)

        def train(_: int) -> None:
            batch = next(stream)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                loss = model.loss(batch, generator)["total"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()

        return train

    @cached_property
    def rate(self) -> float:
        """Structures per second in training."""
        return rate_of(self.step, self.args.batch, self.args.seconds)

    def share(self) -> float:
        """Return the share of the device's rate of matrix products that training reaches."""
        done = matrix_operations(partial(self.step, 0)) * self.rate / self.args.batch / 1e9
        return done / matrix_rate(self.device, torch.bfloat16 if self.half else torch.float32)

    def minutes(self) -> float:
        """Return the minutes of a training that sees as many crystals as the shipped model did."""
        return SETS[self.data].crystals_seen / self.rate / 60

    def states(self, sampler: Sampler, count: int) -> Iterator[Any]:
        """Yield after every step of the reverse process of one batch."""
        sizes = [int(d.num_nodes or 0) for d in self.items[:count]]
        condition = {key: torch.zeros(len(sizes)) for key in self.model.properties}
        seeds = [crystal_seed(0, i) for i in range(len(sizes))]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            yield from self.model.generate(sizes, seeds, sampler, condition)

    def sampling(self, sampler: Sampler) -> float:
        """Return structures per second of a sampler in one batch, extrapolated from a stretch."""
        count = min(self.args.samples, len(self.items))
        rate = rate_along(self.states(sampler, count), count, self.args.seconds)
        return rate / len(sampler.times(T)[1:])

    def waits(self) -> str:
        """Return whether steps wait for the GPU, as PyTorch itself finds it; "no" or where."""
        self.step(0), self.step(1)
        states = self.states(FULL, 64)
        for _ in range(3):
            next(states)
        wait()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for k in range(3):
                self.step(k)
                next(states)
        except RuntimeError as error:
            return f"yes: {str(error).splitlines()[0]}"
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return "no"

    def peak(self) -> float:
        """Return the peak of the memory in GiB: of the GPU, or of the process."""
        if self.device.type != "cuda":
            return peak_gib()
        return torch.cuda.max_memory_allocated(self.device) / 2**30


def endless(batches: ResidentBatches) -> Iterator[Any]:
    """Yield epoch after epoch."""
    while True:
        yield from batches


def form_part(form: str, device: torch.device, args: argparse.Namespace) -> Iterator[Measurement]:
    """Measure one form on all sets."""
    few = Sampler("renewing", args.few_steps)
    with served_by(form):
        for data in args.datasets:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            one, of = OneSet(data, form, device, args), {"form": form, "data": data}
            if form != "recorded":  # which is for sampling alone
                yield label("training", "structures/s", **of), partial(getattr, one, "rate")
                yield label("as many crystals as the shipped model", "min", **of), one.minutes
            for sampler in (FULL, few):
                what = f"sampling, {len(sampler.times(T)) - 1} steps"
                yield label(what, "structures/s", **of), partial(one.sampling, sampler)
            if form in ("kernel", "plain"):
                yield label("share of the rate of matrix products", "", **of), one.share
            if form == "kernel" and device.type == "cuda":
                yield label("steps wait for the device", "", **of), one.waits
            yield label("peak memory", "GiB", **of), one.peak


def many_part(form: str, device: torch.device, args: argparse.Namespace) -> Iterator[Measurement]:
    """Measure a whole sample of MP-20's sizes, from noise to crystals."""

    def seconds() -> float:
        one = OneSet("mp20", form, device, args)
        sizes = drawn_sizes("mp20", args.many)
        zero = dict.fromkeys(one.model.properties, 0.0)
        work = Provenance("", 0, 1.0, Sampler("renewing", args.few_steps))

        def make(indices: list[int]) -> int:
            made = generate(one.model, indices, sizes, [zero] * len(sizes), work, one.half, None)
            return len([crystals for crystals in made if crystals][-1])

        make([0, 1])
        wait()
        start = time.perf_counter()
        done = sum(make(batch) for batch in cut_batches(sizes, None, device))
        assert done == args.many
        return time.perf_counter() - start

    with served_by(form):
        yield label(f"{args.many:,} crystals, {args.few_steps} steps", "s", form, "mp20"), seconds


def check_part(device: torch.device, args: argparse.Namespace) -> Iterator[Measurement]:
    """Compare the forms on the device, with each other and with the processor."""

    def agrees() -> bool:
        if device.type == "cpu":
            return pair_attention.native_agrees()
        return pair_attention.triton_form(device) is not None

    def outcome(form: str, where: torch.device, half: bool) -> list[torch.Tensor]:
        items = crystals_of("mp20", args)[:64]
        model = default_model(items, args).to(where)
        (batch,) = ResidentBatches(items, len(items), range(len(items)), where)
        generator = torch.Generator().manual_seed(0)
        with served_by(form), torch.autocast(where.type, torch.bfloat16, enabled=half):
            loss = model.loss(batch, generator)["total"]
            found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        return [x.detach().float().cpu() for x in (loss, *found) if x is not None]

    def difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
        apart = torch.stack([(a - b).abs().amax() for a, b in zip(ours, theirs, strict=True)])
        return float(apart.max() / max(float(b.abs().amax()) for b in theirs))

    cpu = torch.device("cpu")
    yield label("the kernel agrees with the plain form"), agrees
    for half in (False, True):
        name = "bfloat16" if half else "float32"
        yield (
            label(f"loss and gradients, kernel and plain form, {name}: largest difference"),
            lambda half=half: difference(*(outcome(f, device, half) for f in ("kernel", "plain"))),
        )
    yield (
        label("the same, kernel here and plain form on the processor, float32"),
        lambda: difference(outcome("kernel", device, False), outcome("plain", cpu, False)),
    )
    if device.type == "cuda":
        yield (
            label("recorded calls: share of equal species after 20 steps"),
            partial(recorded_alike, device, args),
        )


def recorded_alike(device: torch.device, args: argparse.Namespace) -> float:
    """Return the share of atoms whose species does not change where network calls are recorded."""
    species = []
    for form in ("kernel", "recorded"):
        with served_by(form):
            *_, (_, last) = OneSet("mp20", form, device, args).states(Sampler("renewing", 20), 64)
        species.append(last.species)
    return float((species[0] == species[1]).float().mean())


def diffcsp_part(
    data: str, device: torch.device, args: argparse.Namespace
) -> Iterator[Measurement]:
    """Measure DiffCSP's network from a checkout on the same device, on one set."""

    def rates() -> dict[str, float]:
        items = crystals_of(data, args)[: 2 * args.batch]
        side, count = diffcsp(items, Path(args.diffcsp).resolve(), device), len(items) // 2
        evaluate = rate_of(lambda k: side.evaluate(k % 2), count, args.seconds)
        return {
            "training": rate_of(lambda k: side.train(k % 2), count, args.seconds),
            f"sampling, {T} steps": evaluate / side.evaluations,
        }

    yield label("training and sampling", "structures/s", "diffcsp", data), rates


def parts(args: argparse.Namespace, device: torch.device) -> dict[str, Iterator[Measurement]]:
    """Return all parts in their order: what matters most comes first."""
    out = {"check": check_part(device, args)}
    out |= {f: form_part(f, device, args) for f in args.forms if f != "compiled"}
    for form in [f for f in args.forms if f in ("kernel", "recorded")][-1:]:
        out["many"] = many_part(form, device, args)
    if args.diffcsp:
        out |= {f"diffcsp {data}": diffcsp_part(data, device, args) for data in args.datasets}
    if "compiled" in args.forms:  # compiling may take minutes
        out["compiled"] = form_part("compiled", device, args)
    return out
