"""One batch of crystals: from what was asked for each to what the model makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.diffusion.joint import Solver
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.diffusion.schedules import Spacing
from pyg_crysdiff.models.build import Generator
from pyg_crysdiff.models.crystal_diffusion import CrystalDiffusion
from pyg_crysdiff.sampling.control import Planner, Template
from pyg_crysdiff.sampling.inpainting import known_batch


@dataclass(frozen=True)
class SamplerSettings:
    """What decides a crystal beside its index; stored with every crystal."""

    checkpoint: str
    seed: int
    guidance: float
    steps: int
    corrector_steps: int
    renewal: float
    solver: Solver
    spacing: Spacing


def generate(
    model: Generator,
    indices: Sequence[int],
    sizes: Sequence[int],
    targets: Sequence[Mapping[str, float]],
    times: list[int],
    settings: SamplerSettings,
    autocast: bool,
    planner: Planner | None,
) -> Iterator[list[Crystal]]:
    """Run one batch; yields after every step, an empty list until the crystals are there.

    Args:
        model: Model.
        indices: Indices of the crystals of the batch.
        sizes: Number of atoms of every crystal of the request.
        targets: Wanted properties of every crystal of the request.
        times: Descending times from T to 0.
        settings: Settings of the sampler.
        autocast: Whether the network computes in bf16.
        planner: Constraints; None for none.
    """
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
    template = None if planner is None else planner.control.template
    crystals = [_oriented(crystal, template) for crystal in model.crystals(final)]
    for index, crystal in zip(indices, crystals, strict=True):
        crystal.info.update(asdict(settings), target=dict(targets[index]), index=index)
        if planner is not None:
            crystal.info["control"] = planner.control.describe(index)
    yield crystals


def _oriented(crystal: Crystal, template: Template | None) -> Crystal:
    """Return a crystal as it is written, with the coordinates of a template where it keeps them.

    Where they are kept in a free cell, a left-handed crystal is replaced by its mirror image, in
    which they have their values; the model generates both equally often.
    """
    keep = () if template is None else template.keep
    if "coordinates" in keep and "lattice" not in keep and np.linalg.det(crystal.lattice) < 0:
        crystal = replace(crystal, lattice=crystal.lattice * [1.0, 1.0, -1.0])
    return crystal.oriented()
