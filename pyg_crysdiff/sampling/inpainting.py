"""From the plans of a batch to what the reverse process is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyg_crysdiff.diffusion.inpainting import Inpainting
from pyg_crysdiff.diffusion.noise import CrystalNoise, crystal_seed
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.platform import sent
from pyg_crysdiff.sampling.composition import draw_composition
from pyg_crysdiff.sampling.planner import Planner

_SETTLE_SHARE = 0.25  # of T; at a quarter the cosine schedule has kept 85 % of the species


def known_batch(
    planner: Planner,
    model: Generator,
    indices: Sequence[int],
    sizes: Sequence[int],
    seed: int,
) -> Inpainting:
    """Return what is given of the crystals with these indices, lattices in Angstrom.

    All tensors are on the model's device.

    Args:
        planner: Constraints.
        model: Model that is sampled, which takes sizes.
        indices: Index of each crystal of the batch.
        sizes: Number of atoms of each of them.
        seed: Seed of the request.
    """
    device, dtype = model.elements.device, torch.get_default_dtype()
    plans = [planner.plan(n, i) for i, n in zip(indices, sizes, strict=True)]
    seeds = [crystal_seed(seed, i, "known") for i in indices]
    rngs = [np.random.default_rng(crystal_seed(seed, i, "composition")) for i in indices]

    def gathered(arrays: list[np.ndarray]) -> Tensor | None:
        values = torch.as_tensor(np.concatenate(arrays), dtype=dtype)
        return None if bool(values.isnan().all()) else sent(values, device)

    def settle(probabilities: Tensor) -> Tensor:
        chosen = []
        for part, rng, i in zip(
            probabilities.cpu().double().split(sizes), rngs, indices, strict=True
        ):
            fallback = planner.example(len(part), i)
            assert fallback is not None  # sizes without one were refused
            drawn = draw_composition(
                part.numpy(), planner.elements, planner.control.rule, fallback, rng
            )
            chosen.append(drawn)
        return torch.as_tensor(np.concatenate(chosen), device=device)

    lattice = gathered([p.lattice for p in plans])
    return Inpainting(
        noise=CrystalNoise(seeds, sizes, device),
        allowed=sent(torch.as_tensor(np.concatenate([p.allowed for p in plans])), device),
        coordinates=gathered([p.frac_coords for p in plans]),
        lattice=None if lattice is None else lattice.view(-1, 3, 3),
        settle=settle if planner.control.rule else None,
        settle_at=int(_SETTLE_SHARE * model.num_steps),
    )
