"""Self-attention with relative positions over the atoms of a crystal (eqs 9 to 11)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pyg_crysdiff.nn.layout import PairLayout
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
            pair_features: Features of the pairs, (P, pair_inputs).
            layout: Pair layout.
            extra: Terms added to q, k, v of all atoms of a crystal, (B, 3 H head_dim), eqs 17-19.
        """
        qkv = self.qkv(z)
        if extra is not None:
            qkv = qkv + extra[layout.crystal]
        alpha, hidden = self.pairs(pair_features)
        out = [
            self._group(*parts)
            for parts in zip(
                layout.split_atoms(qkv),
                layout.split_pairs(alpha),
                layout.split_pairs(hidden),
                strict=True,
            )
        ]
        return self.out(torch.cat(out))

    def _group(self, qkv: Tensor, alpha: Tensor, hidden: Tensor) -> Tensor:
        """Attend within each crystal of a group: (b, n, 3 H d), (b, n, n, H), (b, n, n, H c)."""
        b, n = qkv.shape[:2]
        q, k, v = qkv.view(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim) + alpha.permute(0, 3, 1, 2)
        weights = logits.softmax(-1)
        values = (weights @ v).permute(0, 2, 1, 3)
        return (values + self.pairs.aggregate(weights, hidden)).reshape(b * n, -1)


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
