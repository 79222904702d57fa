"""Attention over all pairs of atoms in each crystal: one function, in PyTorch or in C.

:func:`pair_attention` is all that a block does with pairs after its matrix products. The plain form
runs on any device and in any number format. On processors, in float32 and bfloat16, a kernel in C
takes its place where it can be compiled and agrees with the plain form on an example.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.native import load_library

log = logging.getLogger(__name__)
_SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16"}


def pair_attention(
    qkv: Tensor, pre: Tensor, alpha_weight: Tensor, layout: PairLayout
) -> tuple[Tensor, Tensor]:
    r"""Attention weights of every head, and what they average.

    .. math:: a_{ij} = \mathrm{softmax}_j \Bigl(\frac{q_i \cdot k_j}{\sqrt{d}}
        + w^\alpha \cdot \mathrm{SiLU}(u^\alpha_{ij})\Bigr), \qquad
        v'_i = \sum_j a_{ij} v_j, \qquad h_i = \sum_j a_{ij}\, \mathrm{SiLU}(u^\beta_{ij})

    Args:
        qkv: Queries, keys and values of the sorted atoms, (N, 3 H d).
        pre: Hidden layers u of the pair MLPs before their activation, (P, 2 H c): those of
            alpha for all heads, then those of beta.
        alpha_weight: Second layer of alpha's MLP, (H, c).
        layout: Pair layout.

    Returns:
        v' (N, H d) and h (N, H c).
    """
    qkv = qkv.to(pre.dtype)
    if _native_serves(qkv):
        out: tuple[Tensor, Tensor] = _Native.apply(qkv, pre, alpha_weight, layout)
        return out
    return _plain(qkv, pre, alpha_weight, layout)


def _plain(
    qkv: Tensor, pre: Tensor, alpha_weight: Tensor, layout: PairLayout
) -> tuple[Tensor, Tensor]:
    heads, hidden_dim = alpha_weight.shape
    for_alpha, for_beta = F.silu(pre).chunk(2, dim=1)
    # A block-diagonal matrix turns H small products into one.
    alpha = for_alpha @ torch.block_diag(*alpha_weight.unsqueeze(-1)).to(pre.dtype)
    values, mixed = [], []
    for qkv_group, alpha_group, hidden in zip(
        layout.split_atoms(qkv),
        layout.split_pairs(alpha),
        layout.split_pairs(for_beta),
        strict=True,
    ):
        b, n = qkv_group.shape[:2]
        q, k, v = qkv_group.view(b, n, 3, heads, -1).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1)) + alpha_group.permute(0, 3, 1, 2)
        weights = logits.softmax(-1).to(v.dtype)
        values.append((weights @ v).permute(0, 2, 1, 3).reshape(b * n, -1))
        # (b n, H, n) @ (b n, n, H c); of the H x H blocks only the diagonal is wanted.
        rows = weights.permute(0, 2, 1, 3).reshape(b * n, heads, n)
        product = torch.bmm(rows, hidden.flatten(0, 1)).view(b * n, heads, heads, hidden_dim)
        mixed.append(product.diagonal(dim1=1, dim2=2).transpose(1, 2).reshape(b * n, -1))
    return torch.cat(values), torch.cat(mixed)


class _Native(torch.autograd.Function):
    """:func:`_plain` by the C kernel."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, pre: Tensor, alpha_weight: Tensor, layout: PairLayout
    ) -> tuple[Tensor, Tensor]:
        heads, hidden_dim = alpha_weight.shape
        qkv, pre = qkv.contiguous(), pre.contiguous()
        alpha = alpha_weight.float().contiguous()
        values = qkv.new_empty(len(qkv), qkv.size(1) // 3)
        mixed = qkv.new_empty(len(qkv), heads * hidden_dim)
        weights = torch.empty(len(pre), heads)
        inputs = (qkv, pre, alpha)
        _call("forward", layout, inputs, [(*inputs, values, mixed, weights)])
        ctx.save_for_backward(*inputs, weights)
        ctx.layout = layout
        return values, mixed

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_values: Tensor, grad_mixed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        qkv, pre, alpha, weights = ctx.saved_tensors
        grad_qkv, grad_pre = torch.empty_like(qkv), torch.empty_like(pre)
        # Every thread adds up its own part of the gradient that all pairs share.
        grad_alpha = alpha.new_zeros(torch.get_num_threads(), *alpha.shape)
        inputs = (qkv, pre, alpha)
        given = (*inputs, weights, grad_values.contiguous(), grad_mixed.contiguous())
        calls = [(*given, grad_qkv, grad_pre, part) for part in grad_alpha]
        _call("backward", ctx.layout, inputs, calls)
        return grad_qkv, grad_pre, grad_alpha.sum(0), None


def _call(
    direction: str,
    layout: PairLayout,
    inputs: tuple[Tensor, Tensor, Tensor],
    arguments: Sequence[tuple[Tensor, ...]],
) -> None:
    """Run the kernel over all crystals, in as many threads as PyTorch may use.

    Args:
        direction: ``forward`` or ``backward``.
        layout: Pair layout.
        inputs: qkv, pre and alpha_weight.
        arguments: Arrays for each thread, or one entry for all of them.
    """
    qkv, _, alpha = inputs
    heads, hidden_dim = alpha.shape
    library = load_library()
    assert library is not None
    kernel = getattr(library, f"pair_attention_{direction}_{_SUFFIX[qkv.dtype]}")
    table = layout.table
    widths = [heads, qkv.size(1) // (3 * heads), hidden_dim]

    def part(bounds: tuple[int, int], arrays: tuple[Tensor, ...]) -> int:
        numbers = [ctypes.c_int64(x) for x in bounds]
        pointers = [ctypes.c_void_p(x.data_ptr()) for x in (*table, *arrays)]
        sizes = [ctypes.c_int64(x) for x in widths]
        return int(kernel(*numbers, *pointers[:3], *sizes, *pointers[3:]))

    bounds = layout.shares(torch.get_num_threads())
    each = arguments if len(arguments) > 1 else [*arguments] * len(bounds)
    if len(bounds) == 1:
        failed = part(bounds[0], each[0])
    else:
        failed = max(_threads(len(bounds)).map(part, bounds, each[: len(bounds)]))
    if failed:
        raise MemoryError("no memory for the attention over pairs; use smaller batches")


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="pair_attention")


def _native_serves(x: Tensor) -> bool:
    if x.device.type != "cpu" or x.dtype not in _SUFFIX or torch.compiler.is_compiling():
        return False
    return native_agrees()


@functools.cache
def native_agrees() -> bool:
    """Whether there is a C kernel and it reproduces the plain form and its gradients."""
    if load_library() is None:
        return False
    generator = torch.Generator().manual_seed(0)
    layout = PairLayout.build(torch.tensor([1, 5, 3, 5]))
    heads, d, c, atoms, pairs = 2, 24, 19, 14, 60
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 4e-2)):
        shapes = [(atoms, 3 * heads * d), (pairs, 2 * heads * c), (heads, c)]
        inputs = [torch.randn(s, generator=generator).to(dtype) for s in shapes]
        inputs[2] = inputs[2].float()
        wanted = [torch.randn(atoms, heads * w, generator=generator).to(dtype) for w in (d, c)]
        found = _outcome(_Native.apply, inputs, layout, wanted)
        # The kernel computes in float32 whatever it reads.
        exact = _outcome(_plain, [x.float() for x in inputs], layout, [x.float() for x in wanted])
        for ours, reference in zip(found, exact, strict=True):
            scale = reference.abs().amax().clamp(min=1.0)
            if not bool(((ours.float() - reference).abs() <= tolerance * scale).all()):
                log.warning("the C kernel disagrees with the plain one and is not used")
                return False
    return True


@torch.inference_mode(False)
@torch.enable_grad()
def _outcome(
    function: Callable[..., Any],
    inputs: list[Tensor],
    layout: PairLayout,
    wanted: list[Tensor],
) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    with torch.autocast("cpu", enabled=False):
        out = function(*leaves, layout)
        return [*out, *torch.autograd.grad(out, leaves, wanted)]
