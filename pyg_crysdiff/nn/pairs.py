"""What the network knows of a pair of atoms: Fourier features and the pair MLPs (eqs 12 to 14)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyg_crysdiff.nn.layout import PairLayout


def in_autocast_format(x: Tensor) -> Tensor:
    """Convert to the number format of autocast where it is on, for tensors that are reused."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


@dataclass(frozen=True)
class PairFeatures:
    r"""Inputs of the pair MLPs, :math:`\psi_{FT}(f_j - f_i)` (eq. 14) and the lattice.

    The Fourier features of i, j and of j, i have the same cosines, and sines of opposite sign.
    Those of i, i are zeros and ones. So only the pairs i < j are computed.

    Attributes:
        sines: Sines of all (m, axis) for the pairs i < j of the layout, (P, 3 M).
        cosines: Cosines likewise.
        crystal: Gram matrix and what goes with it, (B, C), in the order of the layout.
    """

    sines: Tensor
    cosines: Tensor
    crystal: Tensor


def pair_features(
    frac_coords: Tensor, crystal_features: Tensor, layout: PairLayout, num_waves: int
) -> PairFeatures:
    r"""Return the inputs of the pair MLPs.

    sin and cos of the differences follow from per-atom values by the angle-difference
    identities: N M trigonometric calls instead of N^2 M.

    Args:
        frac_coords: Sorted fractional coordinates, (N, 3).
        crystal_features: Gram matrix and what goes with it, (B, C), caller's order.
        layout: Pair layout.
        num_waves: M, waves m = 1..M.
    """
    waves = torch.arange(1, num_waves + 1, device=frac_coords.device, dtype=frac_coords.dtype)
    # The remainder keeps f and f + integer the same to the last digit.
    angle = 2 * math.pi * (waves[:, None] * (frac_coords % 1.0).unsqueeze(1)).flatten(1)
    sin, cos = angle.sin(), angle.cos()
    first, second = layout.pairs
    sin_i, sin_j = sin.index_select(0, first), sin.index_select(0, second)
    cos_i, cos_j = cos.index_select(0, first), cos.index_select(0, second)
    return PairFeatures(
        torch.addcmul(sin_j * cos_i, cos_j, sin_i, value=-1),
        torch.addcmul(cos_j * cos_i, sin_j, sin_i),
        crystal_features.index_select(0, layout.crystals),
    )


@dataclass(frozen=True)
class HiddenPairs:
    r"""Hidden layers u of the pair MLPs before their activation, given by their factors.

    .. math:: u_{ij} = e_{ij} + g + o_{ij}, \qquad u_{ji} = e_{ij} + g - o_{ij} \quad (i < j),
        \qquad u_{ii} = s, \qquad o = \sin W^{\sin}, \quad e = \cos W^{\cos}

    Those of alpha come first, for all heads, then those of beta. Over all pairs, o and e would be
    the largest arrays of the network, so they are computed only where they are used.

    Attributes:
        sines: Sines of the pairs i < j, (P, 3 M).
        cosines: Cosines likewise.
        by_sines: Weight of the sines, (3 M, 2 H c).
        by_cosines: Weight of the cosines, (3 M, 2 H c).
        common: g, of every crystal, (B, 2 H c).
        own: s, of every crystal, (B, 2 H c).
    """

    sines: Tensor
    cosines: Tensor
    by_sines: Tensor
    by_cosines: Tensor
    common: Tensor
    own: Tensor


@dataclass(frozen=True)
class PairWeights:
    """First layers of the pair MLPs, split by what their inputs depend on.

    Attributes:
        sines: Weight of the sines, (3 M, 2 H c).
        cosines: Weight of the cosines, (3 M, 2 H c).
        crystal: Weight of the crystal's features, (C, 2 H c).
        bias: Bias, (2 H c,).
        own: What the cosines of i, i give, which are ones, (2 H c,).
    """

    sines: Tensor
    cosines: Tensor
    crystal: Tensor
    bias: Tensor
    own: Tensor


class PairTerms(nn.Module):
    r"""The pair MLPs that give alpha_ij (scalar) and beta_ij (vector) for every head.

    .. math:: \alpha_{ij}, \beta_{ij} = \mathrm{MLP}(\psi_{FT}(f_j - f_i), L L^T)

    Both are one-hidden-layer MLPs of their own for every head (eqs 12 and 13). The first layers
    are split by what their inputs depend on (:class:`HiddenPairs`): two products over half of the
    pairs and one over crystals replace one over all pairs. The second linear layer of
    beta commutes with the attention-weighted sum,
    :math:`\sum_j a_{ij} (W h_{ij} + b) = W \sum_j a_{ij} h_{ij} + b`, so it is applied per atom
    and not per pair, in one with the layer that follows (:meth:`beta_through`); alpha needs no
    bias, since the softmax over j cancels it. What lies between the two layers is
    :func:`pyg_crysdiff.nn.pair_attention.pair_attention`.

    Args:
        num_waves: M, waves of the Fourier features.
        crystal_inputs: Number of features of the crystal.
        num_heads: Number of heads.
        hidden: Width of each hidden layer.
        head_dim: Width of beta.
    """

    def __init__(
        self, num_waves: int, crystal_inputs: int, num_heads: int, hidden: int, head_dim: int
    ) -> None:
        super().__init__()
        self.num_waves, self.num_heads = num_waves, num_heads
        self.hidden, self.head_dim = hidden, head_dim
        self.first = nn.Linear(6 * num_waves + crystal_inputs, 2 * num_heads * hidden)
        # One matrix per head: alpha (hidden -> 1) and beta (hidden -> head_dim).
        self.alpha_weight = nn.Parameter(torch.empty(num_heads, hidden))
        self.beta_weight = nn.Parameter(torch.empty(num_heads, hidden, head_dim))
        self.beta_bias = nn.Parameter(torch.zeros(num_heads, head_dim))
        bound = 1 / math.sqrt(hidden)
        nn.init.uniform_(self.alpha_weight, -bound, bound)
        nn.init.uniform_(self.beta_weight, -bound, bound)

    def weights(self) -> PairWeights:
        """Return the first layers, split."""
        weight = self.first.weight.t().contiguous()
        waves = 3 * self.num_waves
        sines, cosines, crystal = weight.split([waves, waves, weight.size(0) - 2 * waves])
        return PairWeights(sines, cosines, crystal, self.first.bias, cosines.sum(0))

    def forward(self, features: PairFeatures, weights: PairWeights) -> HiddenPairs:
        """Return the hidden layers before their activation."""
        common = torch.addmm(weights.bias, features.crystal, weights.crystal)
        return HiddenPairs(
            features.sines,
            features.cosines,
            weights.sines,
            weights.cosines,
            common,
            common + weights.own,
        )

    def beta_through(self, out: nn.Linear) -> tuple[Tensor, Tensor]:
        r"""Return beta's second layer and a linear layer behind it as one.

        Neither depends on atoms, so that their product replaces a pass over all atoms.

        Args:
            out: Layer on the concatenated heads, H head_dim -> dim, with bias.

        Returns:
            Weight (H hidden, dim) for the averages :math:`\sum_j a_{ij} h_{ij}`, and the bias
            (dim,) of both.
        """
        by_head = out.weight.t().view(self.num_heads, self.head_dim, -1)
        weight = torch.bmm(self.beta_weight, by_head).flatten(0, 1)
        return weight, out.bias + out.weight @ self.beta_bias.flatten()

    def naive(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha (P, H) and beta (P, H, head_dim) of rows of features (P, inputs).

        Goes with the next release: :func:`pyg_crysdiff.nn.reference.pair_terms` is eqs 12 and 13.
        """
        warnings.warn(
            "PairTerms.naive goes with the next release; use pyg_crysdiff.nn.reference.pair_terms",
            DeprecationWarning,
            stacklevel=2,
        )
        hidden = F.silu(self.first(features)).view(len(features), 2, self.num_heads, -1)
        alpha = torch.einsum("phc,hc->ph", hidden[:, 0], self.alpha_weight)
        beta = torch.einsum("phc,hcd->phd", hidden[:, 1], self.beta_weight) + self.beta_bias
        return alpha, beta
