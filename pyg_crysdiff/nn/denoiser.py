"""Protocols of the network: what the generator asks of it, and what it may offer besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from pyg_crysdiff.nn.conditioning import ConditionEmbedding
from pyg_crysdiff.nn.layout import PairLayout

Contexts = Callable[[Tensor, Mapping[str, Tensor] | None], Any]


@runtime_checkable
class Denoiser(Protocol):
    """A network that :class:`pyg_crysdiff.models.CrystalDiffusion` can train and sample.

    Any ``nn.Module`` with these two members will do; check yours with
    :func:`pyg_crysdiff.testing.assert_denoiser`. One that also is a :class:`CachingDenoiser` is
    sampled faster.

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


@runtime_checkable
class CachingDenoiser(Protocol):
    """A denoiser that can do beforehand what depends on time and condition alone.

    In sampling all crystals have the same time, and corrector moves see it several times. A
    sampler then asks once per time for a context, and passes it to every call as ``context``.
    :func:`pyg_crysdiff.testing.assert_denoiser` checks that this changes no output.
    """

    def contexts(self) -> Contexts:
        """Return a function of times (B,) and condition (or None) that makes a context.

        It may keep whatever depends on the weights alone, which do not change while it is used.
        Times and conditions of one row stand for all crystals of the batch. The denoiser is then
        called with its usual arguments and ``context=`` what this function returned.
        """
        ...
