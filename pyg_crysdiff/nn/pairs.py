"""Relative positions of atom pairs: Fourier features and the pair MLPs of eqs 12 to 14."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyg_crysdiff.nn.layout import PairLayout


def pair_features(
    frac_coords: Tensor, crystal_features: Tensor, layout: PairLayout, num_waves: int
) -> Tensor:
    r"""Return the inputs of the pair MLPs: :math:`\psi_{FT}(f_j - f_i)` (eq. 14) and the lattice.

    sin and cos of the differences follow from per-atom values by the angle-difference
    identities: N M trigonometric calls instead of N^2 M.

    Args:
        frac_coords: Sorted fractional coordinates, (N, 3).
        crystal_features: Gram matrix and what goes with it, (B, C), caller's order.
        layout: Pair layout.
        num_waves: M, waves m = 1..M.

    Returns:
        Shape (P, 6 M + C): sines of all (m, axis), cosines, then the pair's crystal features.
    """
    waves = torch.arange(1, num_waves + 1, device=frac_coords.device, dtype=frac_coords.dtype)
    # The remainder keeps f and f + integer the same to the last digit.
    angle = 2 * math.pi * (waves[:, None] * (frac_coords % 1.0).unsqueeze(1)).flatten(1)
    per_atom = torch.cat([angle.sin(), angle.cos(), crystal_features[layout.crystal]], dim=1)
    parts = []
    for atoms in layout.split_atoms(per_atom):
        b, n = atoms.shape[:2]
        i, j = atoms.unsqueeze(2), atoms.unsqueeze(1)
        w = 3 * num_waves
        sin_i, cos_i, sin_j, cos_j = i[..., :w], i[..., w : 2 * w], j[..., :w], j[..., w : 2 * w]
        crystal = i[..., 2 * w :].expand(b, n, n, -1)
        pairs = [sin_j * cos_i - cos_j * sin_i, cos_j * cos_i + sin_j * sin_i, crystal]
        parts.append(torch.cat(pairs, dim=-1).view(b * n * n, -1))
    return torch.cat(parts)


class PairTerms(nn.Module):
    r"""The pair MLPs that give alpha_ij (scalar) and beta_ij (vector) for every head.

    .. math:: \alpha_{ij}, \beta_{ij} = \mathrm{MLP}(\psi_{FT}(f_j - f_i), L L^T)

    Both are one-hidden-layer MLPs of their own for every head (eqs 12 and 13). The second
    linear layer of beta commutes with the attention-weighted sum,
    :math:`\sum_j a_{ij} (W h_{ij} + b) = W \sum_j a_{ij} h_{ij} + b`, so :meth:`aggregate`
    applies it per atom and not per pair. (The first layer also splits exactly into a per-pair
    Fourier part and a per-crystal lattice part. Adding the latter is one more pass over the
    largest array of the network, which costs more than the ten extra columns of the product:
    the layer is kept whole.)

    Args:
        inputs: Width of the pair features.
        num_heads: Number of heads.
        hidden: Width of each hidden layer.
        head_dim: Width of beta.
    """

    def __init__(self, inputs: int, num_heads: int, hidden: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads, self.hidden, self.head_dim = num_heads, hidden, head_dim
        self.first = nn.Linear(inputs, 2 * num_heads * hidden)
        # One matrix per head: alpha (hidden -> 1) and beta (hidden -> head_dim).
        self.alpha_weight = nn.Parameter(torch.empty(num_heads, hidden))
        self.beta_weight = nn.Parameter(torch.empty(num_heads, hidden, head_dim))
        self.beta_bias = nn.Parameter(torch.zeros(num_heads, head_dim))
        bound = 1 / math.sqrt(hidden)
        nn.init.uniform_(self.alpha_weight, -bound, bound)
        nn.init.uniform_(self.beta_weight, -bound, bound)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha (P, H) and the hidden layer of beta (P, H * hidden).

        Args:
            features: Pair features, (P, inputs).
        """
        for_alpha, for_beta = F.silu(self.first(features)).chunk(2, dim=1)
        # A block-diagonal matrix turns H small products into one; alpha needs no bias, since
        # the softmax over j cancels it.
        alpha = for_alpha @ torch.block_diag(*self.alpha_weight.unsqueeze(-1))
        return alpha, for_beta

    def aggregate(self, weights: Tensor, hidden: Tensor) -> Tensor:
        """Return sum_j a_ij beta_ij for one group of equal-sized crystals.

        Args:
            weights: Attention weights, (b, H, n, n), rows sum to one.
            hidden: Hidden layer of beta, (b, n, n, H * hidden).

        Returns:
            Shape (b, n, H, head_dim).
        """
        b, n = hidden.shape[:2]
        heads = self.num_heads
        # (b n, H, n) @ (b n, n, H hidden); of the H x H blocks only the diagonal is wanted.
        rows = weights.permute(0, 2, 1, 3).reshape(b * n, heads, n)
        mixed = torch.bmm(rows, hidden.flatten(0, 1)).view(b * n, heads, heads, -1)
        own = mixed.diagonal(dim1=1, dim2=2).permute(2, 0, 1)
        beta = torch.bmm(own, self.beta_weight) + self.beta_bias.unsqueeze(1)
        return beta.permute(1, 0, 2).reshape(b, n, heads, self.head_dim)

    def naive(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha (P, H) and beta (P, H, head_dim) pair by pair, as eqs 12 and 13 read.

        The reference for tests of :meth:`forward` and :meth:`aggregate`.
        """
        hidden = F.silu(self.first(features)).view(len(features), 2, self.num_heads, -1)
        alpha = torch.einsum("phc,hc->ph", hidden[:, 0], self.alpha_weight)
        beta = torch.einsum("phc,hcd->phd", hidden[:, 1], self.beta_weight) + self.beta_bias
        return alpha, beta
