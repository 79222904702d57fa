"""What the generator asks of a denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from pyg_crysdiff.nn.conditioning import ConditionEmbedding
from pyg_crysdiff.nn.layout import PairLayout


@runtime_checkable
class Denoiser(Protocol):
    """A network that :class:`pyg_crysdiff.models.CrystalDiffusion` can train and sample.

    Any ``nn.Module`` with these two members will do; check yours with
    :func:`pyg_crysdiff.testing.assert_denoiser`.

    Attributes:
        condition_embedding: Reads the properties of a batch and names them.
    """

    condition_embedding: ConditionEmbedding

    def __call__(
        self,
        species: Tensor,
        frac_coords: Tensor,
        lattice: Tensor,
        num_atoms: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor] | None = None,
        layout: PairLayout | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Denoise, as :meth:`pyg_crysdiff.nn.CrystalTransformer.forward` does."""
        ...
