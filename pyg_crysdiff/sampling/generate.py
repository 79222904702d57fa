"""One batch of crystals: from what was asked for each to what the model makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.platform import sent
from pyg_crysdiff.sampling.control import Template
from pyg_crysdiff.sampling.inpainting import known_batch
from pyg_crysdiff.sampling.planner import Planner


@dataclass(frozen=True)
class Provenance:
    """What decides a crystal beside its index; stored with every crystal.

    Attributes:
        checkpoint: Digest of the checkpoint.
        seed: Seed of the request.
        guidance: Scale of classifier-free guidance.
        sampler: Times and kind of the steps.
    """

    checkpoint: str
    seed: int
    guidance: float
    sampler: Sampler

    def describe(self, num_steps: int) -> dict[str, Any]:
        """Return flat plain data; ``steps`` is the number that a process of T steps makes."""
        return {
            "checkpoint": self.checkpoint,
            "seed": self.seed,
            "guidance": self.guidance,
            "steps": len(self.sampler.times(num_steps)) - 1,
            "corrector_steps": self.sampler.corrector_steps,
            "renewal": self.sampler.renewal,
            "solver": self.sampler.solver,
            "spacing": self.sampler.spacing,
            **({"temperature": t} if (t := self.sampler.temperature) != 1 else {}),
        }


def generate(
    model: Generator,
    indices: Sequence[int],
    sizes: Sequence[int],
    targets: Sequence[Mapping[str, float]],
    provenance: Provenance,
    autocast: bool,
    planner: Planner | None,
) -> Iterator[list[Crystal]]:
    """Run one batch; yields after every step, an empty list until the crystals are there.

    Args:
        model: Model.
        indices: Indices of the crystals of the batch.
        sizes: Number of atoms of every crystal of the request.
        targets: Wanted properties of every crystal of the request.
        provenance: Checkpoint, seed, guidance and sampler.
        autocast: Whether the network computes in bf16.
        planner: Constraints; None for none.
    """
    device = model.elements.device
    condition = {
        name: sent(torch.tensor([targets[i][name] for i in indices]), device) for name in targets[0]
    }
    own = [sizes[i] for i in indices]
    inpainting = None
    if planner is not None:
        inpainting = known_batch(planner, model, indices, own, provenance.seed)
    seeds = [crystal_seed(provenance.seed, i) for i in indices]
    states = model.generate(
        own, seeds, provenance.sampler, condition, provenance.guidance, inpainting
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
    facts = provenance.describe(model.num_steps)
    for index, crystal in zip(indices, crystals, strict=True):
        crystal.info.update(facts, target=dict(targets[index]), index=index)
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
