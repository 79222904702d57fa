"""Attention over all pairs of atoms in each crystal, in PyTorch or in C.

:func:`pair_attention` is everything that a block of the network does with pairs. The plain form in
PyTorch runs on any device and in any number format. On processors, in float32 and bfloat16, a
kernel in C takes its place, provided that it can be compiled and agrees with the plain form on an
example.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pyg_crysdiff.nn.layout import PairLayout, upper
from pyg_crysdiff.nn.native import load_library
from pyg_crysdiff.nn.pairs import HiddenPairs

log = logging.getLogger(__name__)
_SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16"}


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
    inputs = AttentionInputs(
        query=query,
        key=key.to(query.dtype),
        sines=hidden.sines,
        cosines=hidden.cosines,
        by_sines=hidden.by_sines,
        by_cosines=hidden.by_cosines,
        common=hidden.common,
        own=hidden.own,
        alpha_weight=alpha_weight,
    )
    serve = native if _native_serves(query) else plain
    return serve(inputs, layout)


def plain(inputs: AttentionInputs, layout: PairLayout) -> Tensor:
    """Compute :func:`pair_attention` with PyTorch's operations."""
    heads = len(inputs.alpha_weight)
    odd, even = inputs.sines @ inputs.by_sines, inputs.cosines @ inputs.by_cosines
    # A block-diagonal matrix turns H small products into one.
    to_alpha = torch.block_diag(*inputs.alpha_weight.unsqueeze(-1)).to(odd.dtype)
    out = []
    for q, k, o, e, g, s in zip(
        layout.split_atoms(inputs.query),
        layout.split_atoms(inputs.key),
        layout.split_pairs(odd),
        layout.split_pairs(even),
        layout.split_crystals(inputs.common),
        layout.split_crystals(inputs.own),
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


def native(inputs: AttentionInputs, layout: PairLayout) -> Tensor:
    """Compute :func:`pair_attention` with the C kernel."""
    out: Tensor = _Native.apply(*inputs, layout)
    return out


class _Native(torch.autograd.Function):
    """:func:`native`, of which autograd wants the tensors one by one."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        *tensors, layout = given
        atoms, rest = tensors[:2], tensors[2:]  # in the number format, and in float32
        inputs = AttentionInputs(
            *(x.contiguous() for x in atoms), *(x.float().contiguous() for x in rest)
        )
        query, alpha = inputs.query, inputs.alpha_weight
        out = query.new_empty(len(query), query.size(1) + alpha.numel())
        squares = sum(b * n * n for b, n in layout.groups)
        weights = torch.empty(squares, len(alpha))
        _call("forward", layout, inputs, [(*inputs, out, weights)])
        ctx.save_for_backward(*inputs, weights)
        ctx.layout, ctx.formats = layout, [x.dtype for x in tensors]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        *saved, weights = ctx.saved_tensors
        inputs = AttentionInputs(*saved)
        needed = dict(zip(inputs._fields, ctx.needs_input_grad[:-1], strict=True))
        by_pair = needed["sines"] or needed["cosines"]
        rows = len(inputs.sines) if by_pair else 0
        odd, even = (inputs.by_sines.new_empty(rows, inputs.by_sines.size(1)) for _ in range(2))
        query, key, common, own = (
            torch.empty_like(x) for x in (inputs.query, inputs.key, inputs.common, inputs.own)
        )
        # Every thread adds up its own part of the gradients that all pairs share.
        shared = [
            x.new_zeros(torch.get_num_threads(), *x.shape)
            for x in (inputs.by_sines, inputs.by_cosines, inputs.alpha_weight)
        ]
        given = (*inputs, weights, grad_out.contiguous(), query, key, odd, even, common, own)
        _call(
            "backward", ctx.layout, inputs, [(*given, *part) for part in zip(*shared, strict=True)]
        )
        sines = odd @ inputs.by_sines.t() if by_pair else None
        cosines = even @ inputs.by_cosines.t() if by_pair else None
        by_sines, by_cosines, alpha_weight = (x.sum(0) for x in shared)
        grads = (query, key, sines, cosines, by_sines, by_cosines, common, own, alpha_weight)
        return *(
            None if g is None else g.to(f) for g, f in zip(grads, ctx.formats, strict=True)
        ), None


def _call(
    direction: str,
    layout: PairLayout,
    inputs: AttentionInputs,
    arguments: Sequence[tuple[Tensor, ...]],
) -> None:
    """Run the kernel over all crystals, in as many threads as PyTorch may use.

    Args:
        direction: ``forward`` or ``backward``.
        layout: Pair layout.
        inputs: What the kernel reads.
        arguments: Arrays for each thread, or one entry for all of them.
    """
    key, alpha = inputs.key, inputs.alpha_weight
    library = load_library()
    assert library is not None
    kernel = getattr(library, f"pair_attention_{direction}_{_SUFFIX[key.dtype]}")
    sizes = (len(alpha), key.size(1), alpha.size(1), inputs.sines.size(1))
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
    shapes = {
        "query": (atoms, heads * d),
        "key": (atoms, d),
        "sines": (pairs, waves),
        "cosines": (pairs, waves),
        "by_sines": (waves, width),
        "by_cosines": (waves, width),
        "common": (crystals, width),
        "own": (crystals, width),
        "alpha_weight": (heads, c),
    }
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 4e-2)):
        given = {name: torch.randn(s, generator=generator) for name, s in shapes.items()}
        inputs = AttentionInputs(**given)
        in_format = inputs._replace(query=inputs.query.to(dtype), key=inputs.key.to(dtype))
        wanted = torch.randn(atoms, heads * (d + c), generator=generator).to(dtype)
        found = _outcome(native, in_format, layout, wanted)
        # The kernel computes in float32 whatever it reads.
        as_read = AttentionInputs(*(x.float() for x in in_format))
        exact = _outcome(plain, as_read, layout, wanted.float())
        for ours, reference in zip(found, exact, strict=True):
            scale = reference.abs().amax().clamp(min=1.0)
            if not bool(((ours.float() - reference).abs() <= tolerance * scale).all()):
                log.warning("the C kernel disagrees with the plain one and is not used")
                return False
    return True


@torch.inference_mode(False)
@torch.enable_grad()
def _outcome(
    function: Callable[[AttentionInputs, PairLayout], Tensor],
    inputs: AttentionInputs,
    layout: PairLayout,
    wanted: Tensor,
) -> list[Tensor]:
    leaves = AttentionInputs(*(x.clone().requires_grad_() for x in inputs))
    with torch.autocast("cpu", enabled=False):
        out = function(leaves, layout)
        return [out, *torch.autograd.grad(out, leaves, wanted)]
