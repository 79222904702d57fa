"""The order of training crystals, known from (seed, epoch) also after a resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler

from pyg_crysdiff.diffusion.noise import crystal_seed


class EpochOrder(Sampler[int]):
    """A permutation per epoch that depends on (seed, epoch) alone.

    Args:
        count: Number of items.
        seed: Seed.
        epoch: Returns the current epoch.
    """

    def __init__(self, count: int, seed: int, epoch: Callable[[], int]) -> None:
        self.count, self.seed, self.epoch = count, seed, epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        seed = crystal_seed(self.seed, self.epoch(), "order")
        generator = torch.Generator().manual_seed(seed)
        yield from torch.randperm(self.count, generator=generator).tolist()
