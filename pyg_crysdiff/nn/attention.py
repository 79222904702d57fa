"""Self-attention with relative positions over the atoms of a crystal (eqs 9 to 11)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pair_attention import pair_attention
from pyg_crysdiff.nn.pairs import PairTerms


class RelativeAttention(nn.Module):
    r"""Multi-head attention with relative position terms (eq. 11).

    .. math:: z'_i = \frac{1}{Z_i} \sum_j
        \exp(q_i^T k_j / \sqrt{d} + \alpha_{ij}) (v_j + \beta_{ij})

    The paper has 3 heads at d = 128, which is no multiple of 3: every head has a width of its
    own, and the concatenated heads are projected back.

    Args:
        dim: Width of the atom features.
        num_heads: Number of heads.
        head_dim: Width of a head.
        pair_inputs: Width of the pair features.
        pair_hidden: Hidden width of the pair MLPs.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        pair_inputs: int,
        pair_hidden: int,
    ) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.qkv = nn.Linear(dim, 3 * num_heads * head_dim, bias=False)
        self.pairs = PairTerms(pair_inputs, num_heads, pair_hidden, head_dim)
        self.out = nn.Linear(num_heads * head_dim, dim)

    def forward(
        self,
        z: Tensor,
        pair_features: Tensor,
        layout: PairLayout,
        extra: Tensor | None = None,
    ) -> Tensor:
        """Return the attention output, (N, dim) -> (N, dim), atoms in sorted order.

        Args:
            z: Atom features, (N, dim).
            pair_features: Features of the pairs and a column of ones, (P, pair_inputs + 1).
            layout: Pair layout.
            extra: Terms added to q, k, v of all atoms of a crystal, (B, 3 H head_dim), eqs 17-19.
        """
        if extra is None:
            qkv = self.qkv(z)
        else:
            qkv = torch.addmm(extra.index_select(0, layout.crystal), z, self.qkv.weight.t())
        pre = self.pairs(pair_features)
        values, mixed = pair_attention(qkv, pre, self.pairs.alpha_weight, layout)
        weight, bias = self.pairs.beta_through(self.out)
        return torch.addmm(F.linear(values, self.out.weight, bias), mixed, weight)


class AttentionBlock(nn.Module):
    """Post-norm Transformer block: attention (eq. 9), then an MLP (eq. 10).

    Args:
        dim: Width of the atom features.
        mlp_ratio: Hidden width of the MLP in units of ``dim``.
        **attention: Arguments of :class:`RelativeAttention`.
    """

    def __init__(self, dim: int, mlp_ratio: int = 4, **attention: int) -> None:
        super().__init__()
        self.attention = RelativeAttention(dim, **attention)
        self.attention_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_ratio * dim), nn.SiLU(), nn.Linear(mlp_ratio * dim, dim)
        )
        self.mlp_norm = nn.LayerNorm(dim)

    def forward(
        self,
        z: Tensor,
        pair_features: Tensor,
        layout: PairLayout,
        extra: Tensor | None = None,
    ) -> Tensor:
        """Return updated atom features; arguments as in :meth:`RelativeAttention.forward`."""
        z = self.attention_norm(self.attention(z, pair_features, layout, extra) + z)
        return self.mlp_norm(self.mlp(z) + z)
