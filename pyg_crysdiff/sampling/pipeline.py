"""Sampling by one function call, from a checkpoint or a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models.checkpoint import LoadedModel, load_checkpoint
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.platform import choose_device, choose_precision
from pyg_crysdiff.sampling.batches import cut_batches
from pyg_crysdiff.sampling.choice import OldSampler, choose
from pyg_crysdiff.sampling.control import Control
from pyg_crysdiff.sampling.generate import Provenance
from pyg_crysdiff.sampling.limits import check_arguments, check_memory, check_shard
from pyg_crysdiff.sampling.planner import Planner
from pyg_crysdiff.sampling.request import (
    NumAtoms,
    Sizes,
    Target,
    draw_size,
    draw_target,
    extrapolations,
    resolve_target,
)
from pyg_crysdiff.sampling.running import BatchWork, run_batches
from pyg_crysdiff.sampling.store import SampleStore, sole_writer

log = logging.getLogger(__name__)


def sample(
    checkpoint: str | Path | LoadedModel,
    num_samples: int,
    *,
    target: Target = "min",
    num_atoms: NumAtoms | None = None,
    control: Control | None = None,
    seed: int = 0,
    sampler: Sampler | str | None = None,
    guidance: float | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    out: str | Path | None = None,
    shard: tuple[int, int] | None = None,
    extrapolate: bool = False,
    trusted: Sequence[str] = (),
    progress: bool = True,
    **old: Unpack[OldSampler],
) -> list[Crystal]:
    """Generate crystals, optionally with wanted properties.

    Sampler, guidance and numbers of atoms that are not named are those that the checkpoint's card
    recommends, as in ``crysdiff sample``.

    Crystal i depends on (checkpoint, seed, i), sampler and guidance, not on how many crystals are
    asked for; batch composition enters only through floating-point rounding.
    With ``out``, every batch is written as it is finished, and the same call goes on where an
    interrupted one stopped and yields the structures of an uninterrupted one. All cells are
    right-handed and in one orientation (:meth:`pyg_crysdiff.data.Crystal.oriented`). What is
    asked beyond the training data, and crystals that are not finite, are told in the log.
    Within :func:`pyg_crysdiff.engine.using_engine` the batches are made by the workers of the
    engine; they are the same.

    Args:
        checkpoint: Checkpoint file, or a model loaded from one.
        num_samples: Number of crystals.
        target: Property name to value, or to an interval (low, high) of which every crystal is
            given a value of its own; ``"min"`` for the training minimum, ``"min:5"`` for the
            lowest 5 % of the training values, ``"max"`` and ``"max:5"`` likewise; None for
            unconditional sampling (the model's condition is dropped).
        num_atoms: A number, a range (low, high), numbers with weights, ``"distribution"``
            (training distribution) or ``"target"`` (distribution given the target property);
            None for the card's, or ``"distribution"``.
        control: Hard constraints: formula, elements, charge neutrality, template.
        seed: Seed.
        sampler: Times and kind of the reverse steps, or the name of a preset: ``"paper"`` (all T
            steps with a Langevin move each) or ``"fast"`` (nearly as good from a tenth of the
            network calls). It is taken whole. None for the card's, or ``"fast"`` where a
            checkpoint has no card. See :class:`pyg_crysdiff.diffusion.sampler.Sampler`.
        guidance: Scale of classifier-free guidance; 1 is the plain conditional model. None for
            the card's, or 1.
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
        **old: ``steps``, ``solver``, ``spacing``, ``corrector_steps`` and ``renewal`` of version
            0.1.0, which ``sampler`` has replaced; they go with the next release.

    Returns:
        The crystals (of the shard) with provenance in ``info``: checkpoint digest, seed, index,
        target, guidance, sampler.

    Raises:
        ValueError: If an argument is out of range, the constraints cannot be met, or the
            checkpoint is damaged.
        FileNotFoundError: If there is no checkpoint.
    """
    check_arguments(num_samples, batch_size)
    check_shard(shard, out)
    where = choose_device(device)
    loaded = checkpoint
    if not isinstance(loaded, LoadedModel):
        loaded = load_checkpoint(loaded, where, trusted)
    model = loaded.model.to(where)
    choice = choose(loaded, sampler, guidance, num_atoms, old)
    wanted = resolve_target(target, model.statistics, extrapolate=extrapolate)
    targets = [draw_target(wanted, model.statistics, seed, i) for i in range(num_samples)]
    rule = Sizes(choice.num_atoms)
    planner = _planner(model, rule, control)
    sizes = [1] * num_samples
    if model.takes_sizes:
        sizes = _sizes(rule, planner, seed, model.statistics, targets)
        check_memory(max(sizes), where)
    for line in extrapolations(wanted, sizes if model.takes_sizes else (), model.statistics):
        log.warning("%s: the model extrapolates", line)
    provenance = Provenance(loaded.digest, seed, choice.guidance, choice.sampler)
    facts = provenance.describe(model.num_steps)
    autocast = choose_precision(precision, where) == "bf16-mixed"
    request = {
        **facts,
        "target": wanted,
        "num_samples": num_samples,
        "num_atoms": dict(rule.rule) if isinstance(rule.rule, Mapping) else rule.rule,
        "control": control.describe() if control else None,
        "autocast": autocast,
    }

    work = BatchWork(model, sizes, targets, provenance, autocast, planner, str(device or "auto"))
    length = batch_size or model.crystals_at_once
    if out is None:
        batches = cut_batches(sizes, length, where)
        return run_batches(work, batches, None, shard, progress)
    with sole_writer(out, shard):
        begun = None if batch_size else SampleStore.batches(out, num_samples)
        batches = cut_batches(sizes, length, where, begun)
        store = SampleStore(out, {**request, "batches": [len(batch) for batch in batches]})
        return run_batches(work, batches, store, shard, progress)


def _planner(model: Generator, rule: Sizes, control: Control | None) -> Planner | None:
    """Return the planner of the constraints, if there are any and the model can obey them."""
    if not model.takes_sizes:
        if control or rule.given:
            raise ValueError(
                "this model generates composition and number of atoms itself; neither num_atoms "
                "nor constraints can be asked of it"
            )
        return None
    if control or model.needs_formula:
        return Planner(control or Control(), model.statistics.elements, model.needs_formula)
    return None


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
