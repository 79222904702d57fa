"""What the joint process and a denoiser exchange: the state of a batch, and a prediction for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """

    lattice: Tensor
    coordinates: Tensor
    species: Tensor
    num_atoms: Tensor
    batch: Tensor

    def to(self, device: torch.device | str) -> CrystalState:
        """Move all tensors to a device."""
        return CrystalState(*(getattr(self, name).to(device) for name in self.__annotations__))


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
