"""Attention over all pairs of atoms in each crystal: one function, in PyTorch or in C.

:func:`pair_attention` is all that a block does with pairs. The plain form runs on any device and in
any number format. On processors, in float32 and bfloat16, a kernel in C
takes its place where it can be compiled and agrees with the plain form on an example.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pyg_crysdiff.nn.layout import PairLayout, upper
from pyg_crysdiff.nn.native import load_library
from pyg_crysdiff.nn.pairs import HiddenPairs

log = logging.getLogger(__name__)
_SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16"}


def pair_attention(
    query: Tensor, key: Tensor, hidden: HiddenPairs, alpha_weight: Tensor, layout: PairLayout
) -> Tensor:
    r"""Attention weights of every head, and what they average.

    .. math:: a_{ij} = \mathrm{softmax}_j \bigl(q_i \cdot k_j
        + w^\alpha \cdot \mathrm{SiLU}(u^\alpha_{ij})\bigr), \qquad
        k'_i = \sum_j a_{ij} k_j, \qquad h_i = \sum_j a_{ij}\, \mathrm{SiLU}(u^\beta_{ij})

    Args:
        query: Queries of the sorted atoms, (N, H d).
        key: Keys of all heads, which are their values as well, (N, d).
        hidden: Hidden layers u of the pair MLPs before their activation.
        alpha_weight: Second layer of alpha's MLP, (H, c).
        layout: Pair layout.

    Returns:
        k' of all heads, then h of all heads, (N, H d + H c).
    """
    parts = (
        hidden.sines, hidden.cosines, hidden.by_sines, hidden.by_cosines, hidden.common, hidden.own,
    )  # fmt: skip
    serve = _Native.apply if _native_serves(query) else _plain
    out: Tensor = serve(query, key.to(query.dtype), *parts, alpha_weight, layout)
    return out


def _plain(
    query: Tensor,
    key: Tensor,
    sines: Tensor,
    cosines: Tensor,
    by_sines: Tensor,
    by_cosines: Tensor,
    common: Tensor,
    own: Tensor,
    alpha_weight: Tensor,
    layout: PairLayout,
) -> Tensor:
    heads = len(alpha_weight)
    odd, even = sines @ by_sines, cosines @ by_cosines
    # A block-diagonal matrix turns H small products into one.
    to_alpha = torch.block_diag(*alpha_weight.unsqueeze(-1)).to(odd.dtype)
    out = []
    for q, k, o, e, g, s in zip(
        layout.split_atoms(query),
        layout.split_atoms(key),
        layout.split_pairs(odd),
        layout.split_pairs(even),
        layout.split_crystals(common),
        layout.split_crystals(own),
        strict=True,
    ):
        b, n = k.shape[:2]
        i, j = upper(n).to(k.device)
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


class _Native(torch.autograd.Function):
    """:func:`_plain` by the C kernel."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        *tensors, layout = given
        atoms, rest = tensors[:2], tensors[2:]  # in the number format, and in float32
        inputs = [x.contiguous() for x in atoms] + [x.float().contiguous() for x in rest]
        query, alpha = inputs[0], inputs[-1]
        out = query.new_empty(len(query), query.size(1) + alpha.numel())
        squares = sum(b * n * n for b, n in layout.groups)
        weights = torch.empty(squares, len(alpha))
        _call("forward", layout, inputs, [(*inputs, out, weights)])
        ctx.save_for_backward(*inputs, weights)
        ctx.layout, ctx.formats = layout, [x.dtype for x in rest]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, weights = ctx.saved_tensors
        query, key, sines, _, by_sines, by_cosines, common, own, alpha = inputs
        by_pair = any(ctx.needs_input_grad[2:4])
        hidden = [alpha.new_empty(len(sines), by_sines.size(1)) for _ in range(2 * by_pair)]
        each = [torch.empty_like(x) for x in (query, key)]
        each += hidden or [torch.empty(0)] * 2
        each += [torch.empty_like(x) for x in (common, own)]
        # Every thread adds up its own part of the gradients that all pairs share.
        shared = [
            x.new_zeros(torch.get_num_threads(), *x.shape) for x in (by_sines, by_cosines, alpha)
        ]
        given = (*inputs, weights, grad_out.contiguous(), *each)
        _call(
            "backward", ctx.layout, inputs, [(*given, *part) for part in zip(*shared, strict=True)]
        )
        by_waves: list[Tensor | None] = [None, None]
        if by_pair:
            by_waves = [hidden[0] @ by_sines.t(), hidden[1] @ by_cosines.t()]
        sums = [x.sum(0) for x in shared]
        grads = [*each[:2], *by_waves, *sums[:2], *each[4:], sums[2]]
        formats = [x.dtype for x in inputs[:2]] + ctx.formats
        return *(g if g is None else g.to(f) for g, f in zip(grads, formats, strict=True)), None


def _call(
    direction: str,
    layout: PairLayout,
    inputs: Sequence[Tensor],
    arguments: Sequence[tuple[Tensor, ...]],
) -> None:
    """Run the kernel over all crystals, in as many threads as PyTorch may use.

    Args:
        direction: ``forward`` or ``backward``.
        layout: Pair layout.
        inputs: Arguments of :func:`_plain` but for the layout.
        arguments: Arrays for each thread, or one entry for all of them.
    """
    key, alpha = inputs[1], inputs[-1]
    library = load_library()
    assert library is not None
    kernel = getattr(library, f"pair_attention_{direction}_{_SUFFIX[key.dtype]}")
    sines = inputs[2]
    sizes = (len(alpha), key.size(1), alpha.size(1), sines.size(1))
    widths = [ctypes.c_int64(x) for x in sizes]
    table = [ctypes.c_void_p(row.data_ptr()) for row in layout.table]

    def part(bounds: tuple[int, int], arrays: tuple[Tensor, ...]) -> int:
        numbers = [ctypes.c_int64(x) for x in bounds]
        pointers = [ctypes.c_void_p(x.data_ptr() if x.numel() else None) for x in arrays]
        return int(kernel(*numbers, *table, *widths, *pointers))

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
    heads, d, c, waves, atoms, pairs, crystals = 2, 24, 19, 7, 14, 23, 4
    width = 2 * heads * c
    shapes = [(atoms, heads * d), (atoms, d), *[(pairs, waves)] * 2, *[(waves, width)] * 2]
    shapes += [*[(crystals, width)] * 2, (heads, c)]
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 4e-2)):
        inputs = [torch.randn(s, generator=generator) for s in shapes]
        inputs[:2] = [x.to(dtype) for x in inputs[:2]]
        wanted = torch.randn(atoms, heads * (d + c), generator=generator).to(dtype)
        found = _outcome(_Native.apply, inputs, layout, wanted)
        # The kernel computes in float32 whatever it reads.
        exact = _outcome(_plain, [x.float() for x in inputs], layout, wanted.float())
        for ours, reference in zip(found, exact, strict=True):
            scale = reference.abs().amax().clamp(min=1.0)
            if not bool(((ours.float() - reference).abs() <= tolerance * scale).all()):
                log.warning("the C kernel disagrees with the plain one and is not used")
                return False
    return True


@torch.inference_mode(False)
@torch.enable_grad()
def _outcome(
    function: Callable[..., Tensor], inputs: list[Tensor], layout: PairLayout, wanted: Tensor
) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    with torch.autocast("cpu", enabled=False):
        out = function(*leaves, layout)
        return [out, *torch.autograd.grad(out, leaves, wanted)]
