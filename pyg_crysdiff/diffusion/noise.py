"""Random numbers that belong to a crystal, not to the batch it happens to be in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from pyg_crysdiff.platform import sent


def crystal_seed(seed: int, index: int, stream: str = "sample") -> int:
    """Return a 63-bit seed for crystal number ``index`` of a run with ``seed``.

    Hashing keeps the streams of neighbouring seeds and indices unrelated.
    """
    digest = hashlib.sha256(f"{stream}:{seed}:{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


class CrystalNoise:
    """Normal and uniform noise from one CPU generator per crystal.

    A crystal's noise depends only on its own seed and size and on how many steps it has made.
    Hence batch size, device, and an interruption between batches do not change what is
    generated from a seed, up to floating-point rounding of the network.

    Args:
        seeds: One seed per crystal.
        num_atoms: Number of atoms per crystal.
        device: Where the noise is wanted.
        block: Number of steps drawn at once (affects speed only).
    """

    def __init__(
        self,
        seeds: Sequence[int],
        num_atoms: Sequence[int],
        device: torch.device | str = "cpu",
        block: int = 32,
    ) -> None:
        self.device = torch.device(device)
        self.block = block
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._sizes = list(num_atoms)
        self._cursor = block
        self._normal: Tensor
        self._uniform: Tensor
        b = len(self._sizes)
        # Each crystal's row is [9 lattice, 3 n predictor, 3 n corrector]; the index tensors
        # below pick one field for the whole batch out of the concatenated rows.
        widths = [9 + 6 * n for n in self._sizes]
        starts = [sum(widths[:i]) for i in range(b)]
        index = {
            "lattice": _ranges(starts, [9] * b).view(b, 9),
            "coordinates": _ranges([s + 9 for s in starts], [3 * n for n in self._sizes]).view(
                -1, 3
            ),
            "corrector": _ranges(
                [s + 9 + 3 * n for s, n in zip(starts, self._sizes, strict=True)],
                [3 * n for n in self._sizes],
            ).view(-1, 3),
        }
        self._index = {name: sent(places, self.device) for name, places in index.items()}

    def prior(self) -> dict[str, Tensor]:
        """Return the noise of the priors: lattice (B, 9), coordinates (N, 3), species (N, 1)."""
        lattice, coordinates, species = [], [], []
        for generator, n in zip(self._generators, self._sizes, strict=True):
            lattice.append(torch.randn(1, 9, generator=generator))
            coordinates.append(torch.rand(n, 3, generator=generator))
            species.append(torch.rand(n, 1, generator=generator))
        return {
            "lattice": sent(torch.cat(lattice), self.device),
            "coordinates": sent(torch.cat(coordinates), self.device),
            "species": sent(torch.cat(species), self.device),
        }

    def step(self) -> dict[str, Tensor]:
        """Return the noise of the next reverse step, ``corrector`` (N, 3) included."""
        if self._cursor == self.block:
            self._refill()
        normal, uniform = self._normal[self._cursor], self._uniform[self._cursor]
        self._cursor += 1
        noise = {name: normal[index] for name, index in self._index.items()}
        noise["species"] = uniform.view(-1, 1)
        return noise

    def _refill(self) -> None:
        normal, uniform = [], []
        for generator, n in zip(self._generators, self._sizes, strict=True):
            normal.append(torch.randn(self.block, 9 + 6 * n, generator=generator))
            uniform.append(torch.rand(self.block, n, generator=generator))
        # All steps of the block go to the device at once.
        self._normal = sent(torch.cat(normal, 1), self.device)
        self._uniform = sent(torch.cat(uniform, 1), self.device)
        self._cursor = 0


class RowNoise:
    """Normal and uniform numbers of vectors, from one CPU generator per vector.

    Args:
        seeds: Seed of each of B vectors.
        device: Where the numbers are wanted.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def normal(self, width: int) -> Tensor:
        """Return the next standard normal numbers, (B, width)."""
        rows = [torch.randn(1, width, generator=g) for g in self._generators]
        return sent(torch.cat(rows), self.device)

    def uniform(self, width: int) -> Tensor:
        """Return the next numbers from [0, 1), (B, width)."""
        rows = [torch.rand(1, width, generator=g) for g in self._generators]
        return sent(torch.cat(rows), self.device)


def _ranges(starts: Sequence[int], lengths: Sequence[int]) -> Tensor:
    return torch.cat(
        [torch.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)]
        or [torch.empty(0, dtype=torch.long)]
    )
