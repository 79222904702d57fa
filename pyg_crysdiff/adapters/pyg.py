"""Plain PyG code: our network for batches with PyG's own names and Cartesian coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyg_crysdiff.adapters.core import ConditionedTransformer, contiguous
from pyg_crysdiff.nn.conditioning import SinusoidalTime

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

_NUM_CLASSES = 119


class PyGDenoiser(ConditionedTransformer):
    """A denoiser or encoder for PyG batches with ``z``, ``pos`` and ``cell``.

    Args:
        time_dim: Width of the sinusoidal time embedding.
        lattice_scale: See :class:`ConditionedTransformer`.
        **network: Settings of :class:`pyg_crysdiff.nn.CrystalTransformer`.
    """

    def __init__(self, time_dim: int = 128, lattice_scale: float = 5.0, **network: Any) -> None:
        super().__init__(_NUM_CLASSES, time_dim, lattice_scale, **network)
        self.time = SinusoidalTime(time_dim)

    def forward(self, batch: Batch | Data, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Return one vector per atom, a 3 x 3 matrix per crystal and logits of the species.

        Args:
            batch: ``z`` atomic numbers (N,), ``pos`` Cartesian (N, 3), Angstrom, ``cell`` row
                lattices (B, 3, 3), ``batch`` and ``ptr`` as PyG collates them.
            t: Times, (B,), of the order of 1 to 1000.

        Returns:
            Cartesian vectors (N, 3), which turn with the crystal, in Angstrom; lattice output
            (B, 3, 3), which turns with the lattice; logits (N, 119), column Z.

        Raises:
            ValueError: If atoms of different crystals are mixed.
        """
        cell = batch.cell.view(-1, 3, 3)
        owner = batch.batch if "batch" in batch else batch.z.new_zeros(len(batch.z))
        contiguous(owner)
        num_atoms = owner.bincount(minlength=len(cell))
        frac = (batch.pos.unsqueeze(1) @ cell.inverse()[owner]).squeeze(1) % 1.0
        matrix, vectors, logits = super().forward(
            batch.z, frac, cell, num_atoms, self.time(t.to(cell.dtype))
        )
        return (vectors.unsqueeze(1) @ cell[owner]).squeeze(1), matrix, logits
