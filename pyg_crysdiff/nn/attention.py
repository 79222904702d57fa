"""The attention blocks of the network: atoms of a crystal attend to each other (eqs 9 to 11)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pair_attention import pair_attention
from pyg_crysdiff.nn.pairs import PairFeatures, PairTerms, PairWeights, in_autocast_format


@dataclass(frozen=True)
class AttentionWeights:
    """Products of the weights of a block.

    They depend on the weights alone, so a sampler computes them once and reuses them.

    Attributes:
        query: Weight of the queries, (dim, H dim).
        out: Weight of what the heads average, (H dim + H pair_hidden, dim).
        bias: Bias of the output, (dim,).
        keys: Weight of the keys with the scale of the logits, (H, head_dim, dim).
        values: Weight from the values of all heads to the output, (H head_dim, dim).
        pairs: First layers of the pair MLPs.
    """

    query: Tensor
    out: Tensor
    bias: Tensor
    keys: Tensor
    values: Tensor
    pairs: PairWeights


@dataclass(frozen=True)
class AttentionTerms:
    """What the attention of a block multiplies the atoms by, and what it adds to them.

    It depends on the weights and the condition, and not on the atoms.

    Attributes:
        weights: What the atoms are multiplied by.
        to_query: Terms of the condition added to the queries of each crystal or (one row) of all,
            (B, H dim), or None.
        to_out: Bias and terms of the condition added to the output, (B, dim) or (dim,).
    """

    weights: AttentionWeights
    to_query: Tensor | None
    to_out: Tensor


class RelativeAttention(nn.Module):
    r"""Multi-head attention with relative position terms (eq. 11).

    .. math:: z'_i = \frac{1}{Z_i} \sum_j
        \exp(q_i^T k_j / \sqrt{d} + \alpha_{ij}) (v_j + \beta_{ij})

    The paper has 3 heads at d = 128, which is no multiple of 3: every head has a width of its
    own, and the concatenated heads are projected back.

    With :math:`q = z W^Q + c^Q`, and k and v alike, products of these weights can be formed first,
    without the atoms:

    .. math:: q_i^T k_j = (z_i W^Q W^{K T} + c^Q W^{K T})^T z_j + \text{terms without } j, \qquad
        \sum_j a_{ij} v_j W^O = \sum_j a_{ij} z_j \, W^V W^O + c^V W^O

    The softmax over j cancels terms without j, so that :math:`c^K` has no effect. Keys and values
    of all heads are then the atom features themselves: a third of the rows to compute and to read.

    Args:
        dim: Width of the atom features.
        num_heads: Number of heads.
        head_dim: Width of a head.
        num_waves: M, waves of the Fourier features of a pair.
        crystal_inputs: Number of features of the crystal that its pairs have.
        pair_hidden: Hidden width of the pair MLPs.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        num_waves: int,
        crystal_inputs: int,
        pair_hidden: int,
    ) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.qkv = nn.Linear(dim, 3 * num_heads * head_dim, bias=False)
        self.pairs = PairTerms(num_waves, crystal_inputs, num_heads, pair_hidden, head_dim)
        self.out = nn.Linear(num_heads * head_dim, dim)

    def weights(self) -> AttentionWeights:
        """Return the products of weights."""
        q, k, v = self.qkv.weight.view(3, self.num_heads, self.head_dim, -1)
        keys = in_autocast_format(k / math.sqrt(self.head_dim))
        query = torch.bmm(q.transpose(1, 2), keys).transpose(0, 1).flatten(1)
        values = in_autocast_format(self.out.weight.t())
        by_head = values.view(self.num_heads, self.head_dim, -1)
        mean = torch.bmm(v.transpose(1, 2), by_head).flatten(0, 1)
        mixed, bias = self.pairs.beta_through(self.out)
        out = torch.cat([mean, mixed])
        return AttentionWeights(query, out, bias, keys, values, self.pairs.weights())

    def terms(self, extra: Tensor | None, weights: AttentionWeights) -> AttentionTerms:
        """Return what the atoms are multiplied by and what is added to them.

        Args:
            extra: Terms added to q, k, v of all atoms of a crystal, (B, 3 H head_dim), eqs 17-19;
                one row where they are the same for all crystals.
            weights: :meth:`weights`.
        """
        if extra is None:
            return AttentionTerms(weights, None, weights.bias)
        to_q, _, to_v = extra.split(self.num_heads * self.head_dim, dim=1)
        by_head = to_q.view(len(extra), self.num_heads, -1).transpose(0, 1)
        to_query = torch.bmm(by_head, weights.keys).transpose(0, 1).flatten(1)
        return AttentionTerms(weights, to_query, torch.addmm(weights.bias, to_v, weights.values))

    def forward(
        self, z: Tensor, pairs: PairFeatures, layout: PairLayout, terms: AttentionTerms
    ) -> Tensor:
        """Return the attention output, (N, dim) -> (N, dim), atoms in sorted order.

        Args:
            z: Atom features, (N, dim).
            pairs: Features of the pairs.
            layout: Pair layout.
            terms: :meth:`terms` of the condition.
        """
        weights, to_query, to_out = terms.weights, terms.to_query, terms.to_out
        query = z @ weights.query
        if to_query is not None:
            if len(to_query) > 1:
                to_query = to_query.index_select(0, layout.crystal)
                to_out = to_out.index_select(0, layout.crystal)
            query = query + to_query
        hidden = self.pairs(pairs, weights.pairs)
        mean = pair_attention(query, z, hidden, self.pairs.alpha_weight, layout)
        return torch.addmm(to_out, mean, weights.out)


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
        self, z: Tensor, pairs: PairFeatures, layout: PairLayout, terms: AttentionTerms
    ) -> Tensor:
        """Return updated atom features; arguments as in :meth:`RelativeAttention.forward`."""
        z = self.attention_norm(self.attention(z, pairs, layout, terms) + z)
        return self.mlp_norm(self.mlp(z) + z)
