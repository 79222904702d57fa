"""MatterGen (arXiv 2312.03687): our network as the score model of its ``DiffusionModule``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyg_crysdiff.adapters.core import ConditionedTransformer, contiguous
from pyg_crysdiff.nn.conditioning import SinusoidalTime

_NUM_CLASSES = 101  # atomic numbers 1 to 100 and the mask
_TIME_SCALE = 1000.0


class MatterGenDenoiser(ConditionedTransformer):
    """The ``model`` of MatterGen's ``DiffusionModule``, with D3PM masking of species.

    In the peer's ``conf/lightning_module/diffusion_module/model``::

        _target_: pyg_crysdiff.adapters.MatterGenDenoiser

    Args:
        hidden_dim: Width of the time embedding and of every property embedding.
        property_embeddings: Property name to MatterGen's embedding module.
        property_embeddings_adapt: MatterGen's embeddings for fine-tuning; treated alike.
        element_mask_func: MatterGen's mask of logits, used outside training.
        lattice_scale: See :class:`ConditionedTransformer`.
        **network: Settings of :class:`pyg_crysdiff.nn.CrystalTransformer`.
    """

    def __init__(
        self,
        hidden_dim: int = 128,
        property_embeddings: Mapping[str, nn.Module] | None = None,
        property_embeddings_adapt: Mapping[str, nn.Module] | None = None,
        element_mask_func: Callable[..., Tensor] | None = None,
        lattice_scale: float = 5.0,
        **network: Any,
    ) -> None:
        embeddings = {**(property_embeddings or {}), **(property_embeddings_adapt or {})}
        width = hidden_dim * (1 + len(embeddings))
        super().__init__(_NUM_CLASSES, width, lattice_scale, **network)
        self.time = SinusoidalTime(hidden_dim)
        self.property_embeddings = nn.ModuleDict(embeddings)
        self.element_mask_func = element_mask_func

    @property
    def cond_fields_model_was_trained_on(self) -> Sequence[str]:
        """Names of the properties, which MatterGen's generator asks for."""
        return list(self.property_embeddings)

    def forward(self, x: Any, t: Tensor) -> Any:  # type: ignore[override]
        """Return ``x`` with scores times standard deviations, and logits, in its fields.

        Args:
            x: MatterGen's ``ChemGraph``: ``pos`` (N, 3) fractional, ``cell`` (B, 3, 3) symmetric,
                ``atomic_numbers`` (N,) 1 to 101 (the mask), ``num_atoms`` (B,).
            t: Times, (B,), 0 to 1.
        """
        cell = x["cell"]
        batch = x.get_batch_idx("pos")
        contiguous(batch)
        parts = [self.time(t.to(cell.dtype) * _TIME_SCALE)]
        # The order of nn.ModuleDict is MatterGen's: sorted by name.
        parts += [
            self.property_embeddings[k].forward(batch=x) for k in sorted(self.property_embeddings)
        ]
        eps, score, logits = super().forward(
            x["atomic_numbers"] - 1, x["pos"], cell, x["num_atoms"], torch.cat(parts, dim=-1)
        )
        if not self.training and self.element_mask_func is not None:
            logits = self.element_mask_func(logits=logits, x=x, batch_idx=batch)
        # Noise of symmetric cells is symmetric.
        return x.replace(pos=score, cell=(eps + eps.mT) / 2, atomic_numbers=logits)
