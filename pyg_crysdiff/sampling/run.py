"""Sampling by one function call, from a checkpoint or a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from tqdm import tqdm

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.joint import Solver
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.diffusion.schedules import Spacing, sampling_times
from pyg_crysdiff.models.build import Generator
from pyg_crysdiff.models.checkpoint import LoadedModel, load_checkpoint
from pyg_crysdiff.models.crystal_diffusion import CrystalDiffusion
from pyg_crysdiff.platform import choose_device, choose_precision, keep_freed_memory
from pyg_crysdiff.sampling.apply import known_batch
from pyg_crysdiff.sampling.batches import cut_batches, within_memory
from pyg_crysdiff.sampling.control import Control, Planner
from pyg_crysdiff.sampling.request import (
    NumAtoms,
    Sizes,
    Target,
    draw_size,
    draw_target,
    resolve_target,
)
from pyg_crysdiff.sampling.store import SampleStore
from pyg_crysdiff.structrepdiff.model import StructRepDiff

_RECONSTRUCTED_AT_ONCE = 16


@dataclass(frozen=True)
class _Settings:
    """What decides a crystal beside its index; stored with every crystal."""

    checkpoint: str
    seed: int
    guidance: float
    steps: int
    corrector_steps: int
    renewal: float
    solver: Solver
    spacing: Spacing


def sample(
    checkpoint: str | Path | LoadedModel,
    num_samples: int,
    *,
    target: Target = "min",
    num_atoms: NumAtoms = "distribution",
    control: Control | None = None,
    seed: int = 0,
    steps: int | None = None,
    guidance: float = 1.0,
    corrector_steps: int = 1,
    renewal: float = 0.0,
    solver: Solver = "ancestral",
    spacing: Spacing = "uniform",
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    out: str | Path | None = None,
    shard: tuple[int, int] | None = None,
    extrapolate: bool = False,
    trusted: Sequence[str] = (),
    progress: bool = True,
) -> list[Crystal]:
    """Generate crystals, optionally with wanted properties.

    Crystal i depends on (checkpoint, seed, i) and the sampler settings, not on how many
    crystals are asked for; batch composition enters only through floating-point rounding.
    With ``out``, every batch is written as it is finished, and the same call goes on where an
    interrupted one stopped and yields the structures of an uninterrupted one.

    Args:
        checkpoint: Checkpoint file, or a model loaded from one.
        num_samples: Number of crystals.
        target: Property name to value, or to an interval (low, high) of which every crystal is
            given a value of its own; ``"min"`` for the training minimum, ``"min:5"`` for the
            lowest 5 % of the training values; None for unconditional sampling (the model's
            condition is dropped).
        num_atoms: A number, a range (low, high), numbers with weights, ``"distribution"``
            (training distribution) or ``"target"`` (distribution given the target property).
        control: Hard constraints: formula, elements, charge neutrality, template.
        seed: Seed.
        steps: Number of reverse steps, 1 to T; None for all T.
        guidance: Scale of classifier-free guidance; 1 is the plain conditional model.
        corrector_steps: Corrector moves of the coordinates per step; StructRepDiff has none.
        renewal: 0 for Langevin moves (DiffCSP); up to 1 for moves that replace this share of the
            noise at once: better structures from far fewer steps, less diversity
            (:meth:`pyg_crysdiff.diffusion.coordinates.WrappedNormalDiffusion.correct`).
        solver: ``ancestral`` samples every step's posterior; ``renewing`` makes the noise of the
            coordinates anew in every step, which gives with a tenth of the network calls what
            ancestral steps with Langevin moves give; ``flow`` follows the probability flow to
            second order (:meth:`pyg_crysdiff.diffusion.joint.JointDiffusion.reverse`).
        spacing: Times of the steps: ``uniform``; ``focused``, dense where atoms find their places;
            ``edm`` (:func:`pyg_crysdiff.diffusion.schedules.sampling_times`).
        batch_size: Crystals per batch; None chooses batches that the device's memory bounds, or
            those of the samples that ``out`` already holds. A batch for which there is no memory
            after all is made in two halves.
        device: Device; None for the best there is.
        precision: ``auto``, ``32-true`` or ``bf16-mixed``.
        out: Folder to write to and to resume from.
        shard: (k, n): generate only every n-th batch, from batch k on, and leave it in ``out``.
            The same call without ``shard`` then collects all batches, and generates what is
            missing: the result is that of one process.
        extrapolate: Allow targets beyond the training range.
        trusted: Packages besides this one whose conditioners the checkpoint may name.
        progress: Show a progress bar.

    Returns:
        The crystals (of the shard) with provenance in ``info``: checkpoint digest, seed, index,
        target, guidance, steps.

    Raises:
        ValueError: If an argument is out of range, the constraints cannot be met, or the
            checkpoint is damaged.
        FileNotFoundError: If there is no checkpoint.
    """
    _check(num_samples, batch_size, corrector_steps, renewal, solver)
    _check_shard(shard, out)
    where = choose_device(device)
    if isinstance(checkpoint, LoadedModel):
        loaded = checkpoint
        loaded.model.to(where)
    else:
        loaded = load_checkpoint(checkpoint, where, trusted)
    model = loaded.model
    times = sampling_times(model.process.num_steps, steps, spacing)
    wanted = resolve_target(target, model.statistics, extrapolate=extrapolate)
    targets = [draw_target(wanted, model.statistics, seed, i) for i in range(num_samples)]
    rule = Sizes(num_atoms)
    planner = None
    if isinstance(model, StructRepDiff):
        if rule.given or control:
            raise ValueError(
                "this model generates composition and number of atoms itself; neither num_atoms "
                "nor constraints can be asked of it"
            )
        # Size and coordinates come with the rest: nothing to draw, nothing to correct.
        sizes, corrector_steps, renewal = [1] * num_samples, 0, 0.0
        batch_size = batch_size or _RECONSTRUCTED_AT_ONCE
    else:
        if control or model.needs_formula:
            planner = Planner(control or Control(), model.statistics.elements, model.needs_formula)
        sizes = _sizes(rule, planner, seed, model.statistics, targets)
    settings = _Settings(
        loaded.digest,
        seed,
        guidance,
        len(times) - 1,
        corrector_steps,
        renewal,
        solver,
        spacing,
    )
    begun = None if out is None else SampleStore.batches(out, num_samples)
    batches = cut_batches(sizes, batch_size, where, begun)
    autocast = choose_precision(precision, where) == "bf16-mixed"
    request = {
        **asdict(settings),
        "target": wanted,
        "num_samples": num_samples,
        "num_atoms": dict(rule.rule) if isinstance(rule.rule, Mapping) else rule.rule,
        "control": control.describe() if control else None,
        "batches": [len(batch) for batch in batches],
        "autocast": autocast,
    }
    store = None if out is None else SampleStore(out, request)
    keep_freed_memory()

    def make(indices: Sequence[int]) -> Iterator[list[Crystal]]:
        return _generate(model, indices, sizes, targets, times, settings, autocast, planner)

    return _run(make, batches, len(times) - 1, store, shard, progress)


def _run(
    make: Callable[[Sequence[int]], Iterator[list[Crystal]]],
    batches: list[list[int]],
    steps: int,
    store: SampleStore | None,
    shard: tuple[int, int] | None,
    progress: bool,
) -> list[Crystal]:
    """Make or read every batch (of the shard), and leave each in the store as it is finished."""
    part, parts = shard or (0, 1)
    work = list(enumerate(batches))[part::parts]
    crystals: list[Crystal] = []
    exported = 0
    with tqdm(total=len(work) * steps, unit="step", desc="sampling", disable=not progress) as bar:
        for number, batch in work:
            done = store.read(number) if store else None
            if done is None:
                done = []
                for step in within_memory(make, batch):
                    bar.update()
                    done = step
                if store:
                    store.write(number, done)
            else:
                bar.update(steps)
            crystals.extend(done)
            if store and shard is None:
                store.export(crystals, exported)
                exported = len(crystals)
    return crystals


def _check(
    num_samples: int, batch_size: int | None, corrector_steps: int, renewal: float, solver: str
) -> None:
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if corrector_steps < 0:
        raise ValueError(f"corrector_steps must not be negative, got {corrector_steps}")
    if not 0 <= renewal <= 1:
        raise ValueError(f"renewal must lie between 0 and 1, got {renewal}")
    if solver not in get_args(Solver):
        raise ValueError(f"solver must be one of {get_args(Solver)}, got {solver!r}")


def _check_shard(shard: tuple[int, int] | None, out: str | Path | None) -> None:
    if shard is not None and (out is None or not 0 <= shard[0] < shard[1]):
        raise ValueError(f"a shard (k, n) needs 0 <= k < n and an output folder, got {shard}")


def _sizes(
    rule: Sizes,
    planner: Planner | None,
    seed: int,
    statistics: DataStatistics,
    targets: Sequence[Mapping[str, float]],
) -> list[int]:
    """Draw the number of atoms of every crystal, within the constraints."""
    period = 1 if planner is None else min(max(len(planner.counts), 1), len(targets))
    options: dict[Any, dict[int, float]] = {}  # of equal requests, made once
    sizes = []
    for i, target in enumerate(targets):
        key = (i % period, *(target.values() if rule.rule == "target" else ()))
        if key not in options:
            options[key] = rule.weights(statistics, target)
            if planner is not None:
                options[key] = planner.sizes(options[key], rule.given, i % period)
        sizes.append(draw_size(options[key], seed, i))
    return sizes


def _generate(
    model: Generator,
    indices: Sequence[int],
    sizes: Sequence[int],
    targets: Sequence[Mapping[str, float]],
    times: list[int],
    settings: _Settings,
    autocast: bool,
    planner: Planner | None,
) -> Iterator[list[Crystal]]:
    """Run one batch; yields after every step, an empty list until the crystals are there."""
    device = model.elements.device
    condition = {
        name: torch.tensor([targets[i][name] for i in indices], device=device)
        for name in targets[0]
    }
    own = [sizes[i] for i in indices]
    options: dict[str, Any] = {}
    if planner is not None and isinstance(model, CrystalDiffusion):
        options["known"] = known_batch(planner, model, indices, own, settings.seed)
    states = model.generate(
        own,
        [crystal_seed(settings.seed, i) for i in indices],
        times,
        condition,
        guidance=settings.guidance,
        corrector_steps=settings.corrector_steps,
        renewal=settings.renewal,
        solver=settings.solver,
        **options,
    )
    final: Any = None
    # One context for all steps: it keeps the weights that it has converted.
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        for step in states:
            final = step[1]
            if step[0] > 0:
                yield []
    assert final is not None
    crystals = model.crystals(final)
    for index, crystal in zip(indices, crystals, strict=True):
        crystal.info.update(asdict(settings), target=dict(targets[index]), index=index)
        if planner is not None:
            crystal.info["control"] = planner.control.describe(index)
    yield crystals
