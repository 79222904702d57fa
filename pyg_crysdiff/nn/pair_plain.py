"""The attention over all pairs of atoms in each crystal, with PyTorch's operations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pyg_crysdiff.nn.layout import PairLayout


class AttentionInputs(NamedTuple):
    """All tensors that the attention over pairs reads, in the order of the kernel's arguments.

    Attributes:
        query: Queries of the sorted atoms, (N, H d).
        key: Keys of all heads, which are their values as well, (N, d).
        sines: See :class:`HiddenPairs`, and so for the next five.
        cosines: Cosines of the pairs.
        by_sines: Weight of the sines.
        by_cosines: Weight of the cosines.
        common: Terms of every crystal.
        own: Terms of the pairs i, i of every crystal.
        alpha_weight: Second layer of alpha's MLP, (H, c).
    """

    query: Tensor
    key: Tensor
    sines: Tensor
    cosines: Tensor
    by_sines: Tensor
    by_cosines: Tensor
    common: Tensor
    own: Tensor
    alpha_weight: Tensor


def plain(inputs: AttentionInputs, layout: PairLayout) -> Tensor:
    """Compute :func:`pyg_crysdiff.nn.pair_attention.pair_attention` with PyTorch's operations."""
    heads = len(inputs.alpha_weight)
    odd, even = inputs.sines @ inputs.by_sines, inputs.cosines @ inputs.by_cosines
    # A block-diagonal matrix turns H small products into one.
    to_alpha = torch.block_diag(*inputs.alpha_weight.unsqueeze(-1)).to(odd.dtype)
    out = []
    for (i, j), q, k, o, e, g, s in zip(
        layout.inner_pairs,
        layout.split_atoms(inputs.query),
        layout.split_atoms(inputs.key),
        layout.split_pairs(odd),
        layout.split_pairs(even),
        layout.split_crystals(inputs.common),
        layout.split_crystals(inputs.own),
        strict=True,
    ):
        b, n = k.shape[:2]
        u = odd.new_empty(b, n, n, odd.size(1))
        u[:, i, j] = (e + g + o).to(u.dtype)
        u[:, j, i] = (e + g - o).to(u.dtype)
        u.diagonal(dim1=1, dim2=2).copy_(s.transpose(1, 2).expand(b, -1, n))
        for_alpha, for_beta = F.silu(u).chunk(2, dim=-1)
        alpha = (for_alpha @ to_alpha).permute(0, 3, 1, 2)
        per_head = q.view(b, n, heads, -1).transpose(1, 2)
        logits = per_head @ k.transpose(1, 2).unsqueeze(1) + alpha
        weights = logits.softmax(-1).to(k.dtype)
        mean = (weights @ k.unsqueeze(1)).transpose(1, 2).reshape(b, n, -1)
        # (b n, H, n) @ (b n, n, H c); of the H x H blocks only the diagonal is wanted.
        rows = weights.transpose(1, 2).reshape(b * n, heads, n)
        product = torch.bmm(rows, for_beta.flatten(0, 1)).view(b, n, heads, heads, -1)
        mixed = product.diagonal(dim1=2, dim2=3).transpose(2, 3).reshape(b, n, -1)
        out.append(torch.cat([mean, mixed], dim=-1).flatten(0, 1))
    return torch.cat(out)
