"""The attention over pairs on a GPU, by kernels in Triton.

What all pairs share is multiplied by PyTorch: odd and even parts of the hidden layers are two
matrix products. The kernels do the rest in one pass over the neighbours of each atom, so that
nothing is kept for every pair, head and channel but those two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_crysdiff.nn import triton_kernels as kernels
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pair_plain import AttentionInputs

_MOST_ROWS = 32  # neighbours, or pairs, that a program holds at once


def attend(inputs: AttentionInputs, layout: PairLayout) -> Tensor:
    """Compute :func:`pyg_crysdiff.nn.pair_attention.pair_attention` with the Triton kernels."""
    odd, even = inputs.sines @ inputs.by_sines, inputs.cosines @ inputs.by_cosines
    out: Tensor = _Attention.apply(
        inputs.query, inputs.key, odd, even, inputs.common, inputs.own, inputs.alpha_weight, layout
    )
    return out


class _Attention(torch.autograd.Function):
    """:func:`attend` after the matrix products."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        *tensors, layout = given
        query, key, odd, even, common, own, alpha = (x.contiguous() for x in tensors)
        heads, atoms = len(alpha), len(query)
        squares = sum(b * n * n for b, n in layout.groups)
        exact = query.new_empty(atoms, query.size(1) + alpha.numel(), dtype=torch.float32)
        logits, norms = exact.new_empty(squares, heads), exact.new_empty(atoms, heads)
        table = layout.atom_table
        # Triton starts a kernel on the current GPU, which need not be the one of the tensors.
        with torch.cuda.device_of(query):
            if atoms:
                kernels.forward[atoms, heads](
                    query, key, odd, even, common, own, alpha, table, exact, logits, norms, atoms,
                    **_sizes(key, alpha, layout),
                )  # fmt: skip
        ctx.save_for_backward(query, key, odd, even, common, own, alpha, exact, logits, norms)
        ctx.layout = layout
        return exact.to(query.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, odd, even, common, own, alpha, exact, logits, norms = ctx.saved_tensors
        layout, grad = ctx.layout, grad.contiguous()
        table, sizes = layout.atom_table, _sizes(key, alpha, layout)
        atoms, heads, pairs = len(query), len(alpha), len(odd)
        by_query, by_key, by_odd, by_even = map(torch.empty_like, (query, key, odd, even))
        slopes = torch.empty_like(logits)
        blocks = -(-pairs // _MOST_ROWS)
        by_alpha = alpha.new_zeros(max(1, blocks), *alpha.shape, dtype=torch.float32)
        with torch.cuda.device_of(query):
            if atoms:
                kernels.backward_rows[atoms, heads](
                    query, key, odd, even, common, own, table, logits, norms, exact, grad, slopes,
                    by_query, atoms, **sizes,
                )  # fmt: skip
                without = {name: size for name, size in sizes.items() if name != "CHANNELS"}
                kernels.backward_keys[(atoms,)](
                    query, table, logits, norms, grad, slopes, by_key, atoms, **without
                )
            if pairs:
                without = {name: size for name, size in sizes.items() if name != "FEATURES"}
                kernels.backward_pairs[blocks, heads](
                    odd, even, common, alpha, table, *layout.pairs, logits, norms, grad, slopes,
                    by_odd, by_even, by_alpha, atoms, pairs, **{**without, "ROWS": _MOST_ROWS},
                )  # fmt: skip
        by_common = torch.cat([p.float().sum(1) for p in layout.split_pairs(by_even)])
        by_own, more = _by_own(ctx, slopes, grad)
        by_weight = by_alpha.sum(0) + more
        grads = (by_query, by_key, by_odd, by_even, by_common, by_own, by_weight)
        return *(g.to(x.dtype) for g, x in zip(grads, ctx.saved_tensors, strict=False)), None


def _by_own(ctx: Any, slopes: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients by the hidden layers of the pairs i, i, and their part of alpha's."""
    query, _, _, _, _, own, alpha, _, logits, norms = ctx.saved_tensors
    layout, (heads, channels) = ctx.layout, alpha.shape
    _, n, _, squares, i, _ = layout.atom_table
    place = squares + i * (n + 1)
    weights = (logits[place] - norms).exp()
    mixed = grad[:, query.size(1) :].view(-1, heads, channels).float()

    def over_crystals(x: Tensor) -> Tensor:
        return torch.cat([part.sum(1) for part in layout.split_atoms(x)])

    slope = over_crystals(slopes[place]).unsqueeze(-1)
    to_beta = over_crystals(weights.unsqueeze(-1) * mixed)
    u = own.float().view(-1, 2, heads, channels)
    s = u.sigmoid()
    by_u = torch.stack([slope * alpha.float(), to_beta], 1) * s * (1 + u * (1 - s))
    return by_u.flatten(1), (slope * (u * s)[:, 0]).sum(0)


def _sizes(key: Tensor, alpha: Tensor, layout: PairLayout) -> dict[str, int]:
    """Return what the kernels are compiled for."""
    most = max((n for _, n in layout.groups), default=1)
    return {
        "H": len(alpha), "D": key.size(1), "C": alpha.size(1),
        "ROWS": min(_MOST_ROWS, _power(most)),
        "FEATURES": _power(key.size(1)), "CHANNELS": _power(alpha.size(1)),
    }  # fmt: skip


def _power(count: int) -> int:
    """Return the least power of two that is as large, and at least 2."""
    return max(2, 1 << (count - 1).bit_length())
