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
    :math:`\sum_j a_{ij} (W h_{ij} + b) = W \sum_j a_{ij} h_{ij} + b`, so it is applied per atom
    and not per pair, in one with the layer that follows (:meth:`beta_through`); alpha needs no
    bias, since the softmax over j cancels it. What lies between the two layers is
    :func:`pyg_crysdiff.nn.pair_attention.pair_attention`. (The first layer also splits exactly
    into a per-pair Fourier part and a per-crystal lattice part. Adding the latter is one more pass
    over the largest array of the network, which costs more than the ten extra columns of the
    product: the layer is kept whole.)

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

    def forward(self, features: Tensor) -> Tensor:
        """Return the hidden layers before their activation, (P, 2 H hidden).

        Args:
            features: Pair features and a last column of ones, which carries the bias: added to the
                product it would be a pass of its own over the largest array of the network.
                Shape (P, inputs + 1).
        """
        # Row-major, so that its gradient is the faster of the two orders of that product.
        weight = torch.cat([self.first.weight.t(), self.first.bias.unsqueeze(0)])
        return features @ weight

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
        """Return alpha (P, H) and beta (P, H, head_dim) pair by pair, as eqs 12 and 13 read.

        The reference for tests.
        """
        hidden = F.silu(self.first(features)).view(len(features), 2, self.num_heads, -1)
        alpha = torch.einsum("phc,hc->ph", hidden[:, 0], self.alpha_weight)
        beta = torch.einsum("phc,hcd->phd", hidden[:, 1], self.beta_weight) + self.beta_bias
        return alpha, beta
