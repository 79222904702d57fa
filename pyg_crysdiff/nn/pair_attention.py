"""Attention over all pairs of atoms in each crystal, in PyTorch, in C or in Triton.

:func:`pair_attention` is everything that a block of the network does with pairs. The plain form in
PyTorch runs on any device and in any number format. In float32 and bfloat16 a kernel takes its
place, in C on processors and in Triton on GPUs, provided that it can be compiled and agrees with
the plain form on an example. ``CRYSDIFF_NATIVE=0`` in the environment keeps the plain form.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_crysdiff.nn.kernel_check import Form, agrees
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.native import kernels_wanted, load_library
from pyg_crysdiff.nn.pair_plain import AttentionInputs, plain
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
    return _form_for(query)(inputs, layout)


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


def _form_for(x: Tensor) -> Form:
    """Return the form that serves tensors of this device and number format."""
    if x.dtype not in _SUFFIX or torch.compiler.is_compiling():
        return plain
    if x.device.type == "cpu":
        return native if native_agrees() else plain
    return (triton_form(x.device) if x.device.type == "cuda" else None) or plain


@functools.cache
def native_agrees() -> bool:
    """Whether there is a C kernel and it reproduces the plain form and its gradients."""
    if load_library() is None:
        return False
    if not agrees(native, torch.device("cpu")):
        log.warning("the C kernel disagrees with the plain one and is not used")
        return False
    return True


@functools.cache
def triton_form(device: torch.device) -> Form | None:
    """Return the form in Triton where it can be had and reproduces the plain form; else None."""
    if not kernels_wanted():
        return None
    try:
        from pyg_crysdiff.nn.triton_attention import attend  # noqa: PLC0415  (may not be there)

        served = agrees(attend, device)
    except Exception as error:
        log.info("the Triton kernels cannot be had (%s): the plain form is used", error)
        return None
    if not served:
        log.warning("the Triton kernels disagree with the plain form and are not used")
        return None
    return attend
