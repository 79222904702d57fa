"""What the joint process and a denoiser exchange: the state of a batch, and a prediction for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

FIELDS = ("lattice", "coordinates", "species")


@dataclass(frozen=True)
class CrystalState:
    """A batch of crystals in the units of the process.

    Attributes:
        lattice: Row lattices, (B, 3, 3).
        coordinates: Fractional coordinates, (N, 3).
        species: Class indices, (N,) int64.
        num_atoms: Atoms per crystal, (B,) int64; atoms of a crystal are contiguous.
        batch: Crystal of each atom, (N,) int64, ascending.
        time: The time t of the state where it is the same for all crystals, as in the reverse
            process. A network may then compute once what depends on time and condition alone.
            None where crystals may have times of their own, as in training.
    """

    lattice: Tensor
    coordinates: Tensor
    species: Tensor
    num_atoms: Tensor
    batch: Tensor
    time: int | None = None

    def to(self, device: torch.device | str) -> CrystalState:
        """Move all tensors to a device."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "time"}
        return CrystalState(**{k: v.to(device) for k, v in values.items()}, time=self.time)


@dataclass(frozen=True)
class Prediction:
    """What a denoiser returns.

    Attributes:
        lattice: Predicted noise of the lattice, (B, 3, 3).
        coordinates: Predicted normalised score, (N, 3).
        species: Logits of the clean species, (N, K).
    """

    lattice: Tensor
    coordinates: Tensor
    species: Tensor


Denoise = Callable[[CrystalState, Tensor], Prediction]
