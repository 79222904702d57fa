"""Held-out crystals: who is one, and the losses of a model on them."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Batch, InMemoryDataset

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.models.generator import Generator


def is_held_out(crystal: Crystal, share: float) -> bool:
    """Say whether a crystal is never trained on; its content alone decides.

    Args:
        crystal: The crystal; ``info`` does not matter.
        share: Share of all crystals that are held out; those of a smaller share are among those of
            a larger one.
    """
    return int(crystal.digest()[:8], 16) < share * 16**8


@torch.inference_mode()
def crystal_losses(
    model: Generator, crystals: InMemoryDataset, seed: int, draws: int
) -> NDArray[np.float64]:
    """Return the loss of every crystal, its condition given, as a mean over noises, (M,).

    Two models of the same process see the same noise, so that their losses can be compared
    crystal by crystal.

    Args:
        model: The generator.
        crystals: Crystals with the model's properties, NaN where they are not known.
        seed: Seed of times and noise.
        draws: Times and noises for each crystal.
    """
    was = model.training
    # A family may note what it finds of a set that it prepares; as before a training, on the CPU.
    prepared, _ = deepcopy(model).cpu().prepare(crystals, crystals.index_select([]), progress=False)
    model.eval()
    losses = []
    for row in range(len(prepared)):
        generator = torch.Generator().manual_seed(crystal_seed(seed, row, "held out"))
        batch = Batch.from_data_list([prepared[row]] * draws).to(model.elements.device)
        losses.append(float(model.loss(batch, generator, 0.0)["total"]))
    model.train(was)
    return np.array(losses)
