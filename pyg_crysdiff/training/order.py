"""The order of training crystals, known from (seed, epoch) also after a resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler

from pyg_crysdiff.diffusion.noise import crystal_seed


class EpochOrder(Sampler[int]):
    """A permutation per epoch that depends on (seed, epoch) alone, dealt out to the processes.

    Args:
        count: Number of items.
        seed: Seed.
        epoch: Returns the current epoch.
        rank: Number of this process.
        world_size: Number of processes; all get the same number of items, the last ones again
            from the front of the permutation where the division leaves a rest.
    """

    def __init__(
        self, count: int, seed: int, epoch: Callable[[], int], rank: int = 0, world_size: int = 1
    ) -> None:
        self.count, self.seed, self.epoch = count, seed, epoch
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return (self.count + self.world_size - 1) // self.world_size

    def __iter__(self) -> Iterator[int]:
        seed = crystal_seed(self.seed, self.epoch(), "order")
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.count, generator=generator)
        places = self.rank + self.world_size * torch.arange(len(self))
        yield from order[places % self.count].tolist()
