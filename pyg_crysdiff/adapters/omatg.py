"""OMatG (arXiv 2502.02582): our network as the encoder of its ``Model``.

Where OMatG is installed, the class derives from its ``Encoder``, as its command line demands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_crysdiff.adapters.core import ConditionedTransformer, contiguous, heads

if TYPE_CHECKING:
    Encoder = nn.Module
else:
    try:
        from omg.model.encoders.encoder import Encoder
    except ImportError:  # without OMatG: the same calls, to be tested by themselves
        Encoder = nn.Module

_MAX_ATOMIC_NUMBER = 100


class OMatGEncoder(Encoder):
    """An ``encoder`` of OMatG; its own ``PassThrough`` is the head.

    In the peer's configuration::

        encoder:
          class_path: pyg_crysdiff.adapters.omatg.OMatGEncoder

    Velocities b and denoisers eta of all fields come from two sets of output layers over one
    Transformer. Species logits have column Z - 1 and none for the mask.

    Args:
        latent_dim: Width of OMatG's time embedding.
        prop_embed_dim: Width of its property embedding; 0 for none.
        lattice_scale: See :class:`ConditionedTransformer`.
        dim: Width of the Transformer.
        num_blocks: Its blocks.
        num_heads: Its heads.
        num_waves: Its Fourier terms.
    """

    def __init__(
        self,
        latent_dim: int = 256,
        prop_embed_dim: int = 0,
        lattice_scale: float = 5.0,
        dim: int = 128,
        num_blocks: int = 6,
        num_heads: int = 3,
        num_waves: int = 10,
    ) -> None:
        super().__init__()
        # One class more than there are elements: the mask, where it is enabled.
        self.core = ConditionedTransformer(
            _MAX_ATOMIC_NUMBER + 1, latent_dim + prop_embed_dim, lattice_scale,
            dim=dim, num_blocks=num_blocks, num_heads=num_heads, num_waves=num_waves,
        )  # fmt: skip
        self.velocity = heads(dim, _MAX_ATOMIC_NUMBER)
        self.denoiser = heads(dim, _MAX_ATOMIC_NUMBER)
        for name in ("to_lattice", "to_coordinates", "to_species"):
            setattr(self.core.network, name, nn.Identity())

    def _convert_inputs(self, x: Any, **_: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if (owner := getattr(x, "batch", None)) is not None:
            contiguous(owner)
        return x.species, x.pos, x.cell, x.n_atoms

    def _forward(
        self,
        species: Tensor,
        pos: Tensor,
        cell: Tensor,
        n_atoms: Tensor,
        t: Tensor,
        prop: Tensor | None = None,
        **_: Any,
    ) -> Data:
        embedding = t if prop is None else torch.cat([t, prop.to(t.dtype)], dim=-1)
        z, mean = self.core.features(species, pos, cell, n_atoms, embedding)
        out = {}
        for suffix, layers in (("b", self.velocity), ("eta", self.denoiser)):
            factor = layers["lattice"](mean).view(-1, 3, 3)
            out[f"species_{suffix}"] = layers["species"](z)
            out[f"pos_{suffix}"] = layers["coordinates"](z)
            out[f"cell_{suffix}"] = factor @ (cell / self.core.lattice_scale)
        return Data(**out)

    def _convert_outputs(self, x: Data, **_: Any) -> Data:
        return x

    def forward(self, x: Any, t: Tensor, prop: Tensor | None = None, **options: Any) -> Data:
        """Return velocities and denoisers of a batch.

        Args:
            x: OMatG's batch: ``species`` (N,) 0 (mask) to 100, ``pos`` (N, 3) fractional, ``cell``
                (B, 3, 3) rows in Angstrom, ``n_atoms`` (B,); with ``batch`` (N,), it is checked.
            t: Time embedding, (B, latent_dim).
            prop: Property embedding, (B, prop_embed_dim).
            **options: Not used.

        Returns:
            ``species_b``, ``species_eta`` (N, 100), ``pos_b``, ``pos_eta`` (N, 3), ``cell_b``,
            ``cell_eta`` (B, 3, 3).

        Raises:
            ValueError: If the atoms of a crystal do not stand together.
        """
        inputs = self._convert_inputs(x, **options)
        return self._convert_outputs(self._forward(*inputs, t, prop, **options), **options)

    def enable_masked_species(self) -> None:
        """Nothing to do: class 0 is kept for the mask."""
