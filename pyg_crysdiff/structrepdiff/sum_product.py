"""Counts that add up: sums over all compositions, by a C kernel where there is one.

The plain form makes some thousand small tensors for every batch of MP-20. ``native/counts.c`` keeps
a few crystals in the cache and goes over all elements with them. It takes the place of the plain
form in single precision on a CPU where there is a C compiler and ``CRYSDIFF_NATIVE=0`` is not set.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pyg_crysdiff.compiling import compile_library, kernel_is_right, kernels_wanted

_SOURCE = Path(__file__).parent / "native" / "counts.c"
_FLAGS = ("-std=c11", "-O3", "-march=native", "-fno-math-errno", "-ffp-contract=fast")
_LANES = 8  # crystals that the kernel works on side by side
_ALIGNED = 64  # bytes
_AGREES = 1e-4


@torch.no_grad()
def sum_product(weights: Tensor, sums: Tensor, tops: Sequence[int]) -> tuple[Tensor, Tensor]:
    r"""Return the marginals of all counts, (K, C, B), and the logarithm of the sum, (B,).

    .. math:: Z = \sum_c r\Bigl(\sum_k c_k, \sum_k [c_k > 0]\Bigr) \prod_k w_k(c_k)

    over all compositions c, by a forward and a backward pass over the elements (Kschischang et al.,
    IEEE Trans. Inf. Theory 47, 498, 2001).

    Args:
        weights: w of every element and count, not negative, (K, C, B).
        sums: r of the number of atoms and of elements, (N, E), both from 0.
        tops: Largest count of each element; what is beyond has no weight, K.
    """
    on_cpu = weights.device.type == "cpu" and weights.dtype == sums.dtype == torch.float32
    if on_cpu and kernels_wanted() and kernel_agrees():
        return _by_kernel(weights, sums, tops)
    return plain_sum_product(weights, sums, tops)


def plain_sum_product(weights: Tensor, sums: Tensor, tops: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the same as :func:`sum_product` by operations of torch."""
    rows = [row[: top + 1] for row, top in zip(weights, tops, strict=True)]
    before = [none_yet(sums.shape, weights.shape[2], weights)]
    logarithm = weights.new_zeros(weights.shape[2])
    for row in rows[:-1]:
        state, total = after(before[-1], row)
        before.append(state)
        logarithm += total.log()
    later = sums.unsqueeze(2).expand(-1, -1, weights.shape[2])
    out, totals = torch.zeros_like(weights), []
    for k in reversed(range(len(rows))):
        chance, total, later = _both_sides(before[k], later, rows[k])
        out[k, : len(chance)] = chance
        totals.append(total)
    return out, logarithm + totals[0].log()


def none_yet(states: torch.Size, rows: int, like: Tensor) -> Tensor:
    """Return the distribution of atoms and elements before the first element, (N, E, B)."""
    out = like.new_zeros(*states, rows)
    out[0, 0] = 1.0
    return out


def after(state: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distribution after one element more, (N, E, B), and what divided it, (B,).

    Args:
        state: The distribution before it, (N, E, B).
        weights: Weights of the element's counts, (C, B).
    """
    out = state * weights[0]
    for c in range(1, len(weights)):
        out[c:, 1:].addcmul_(state[:-c, :-1], weights[c])
    return _normal(out, (0, 1))


def _both_sides(earlier: Tensor, later: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities of an element's counts and their sum, and the weight of it and those after it.

    Args:
        earlier: Distribution of atoms and elements before the element, (N, E, B).
        later: Weight of the elements after it by what they start from, (N, E, B).
        weights: Weights of its counts, (C, B).
    """
    chance = [(earlier * later).sum((0, 1))]
    out = later * weights[0]
    for c in range(1, len(weights)):
        chance.append((earlier[:-c, :-1] * later[c:, 1:]).sum((0, 1)))
        out[:-c, :-1].addcmul_(later[c:, 1:], weights[c])
    return *_normal(torch.stack(chance) * weights, (0,)), _normal(out, (0, 1))[0]


def _normal(weights: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    total = weights.sum(over).clamp(min=torch.finfo(weights.dtype).tiny)
    return weights / total, total


class _Task(ctypes.Structure):
    _fields_ = (
        *((n, ctypes.c_int64) for n in ("elements", "counts", "atoms", "kinds", "crystals")),
        *((n, ctypes.c_void_p) for n in ("tops", "weights", "sums", "scratch", "out", "logarithm")),
    )


def _by_kernel(weights: Tensor, sums: Tensor, tops: Sequence[int]) -> tuple[Tensor, Tensor]:
    library = load_library()
    assert library is not None
    weights, sums, top = weights.contiguous(), sums.contiguous(), torch.tensor(tops)
    out, logarithm = torch.zeros_like(weights), weights.new_empty(weights.shape[2])
    elements, counts, crystals = weights.shape
    size = ((elements + 2) * sums.numel() + 2 * counts) * _LANES
    scratch = torch.empty(size + _ALIGNED // 4)
    first = scratch.data_ptr() + -scratch.data_ptr() % _ALIGNED
    task = _Task(elements, counts, *sums.shape, crystals, top.data_ptr(), weights.data_ptr(),
                 sums.data_ptr(), first, out.data_ptr(), logarithm.data_ptr())  # fmt: skip
    library.count_marginals(ctypes.byref(task))
    return out, logarithm


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """Return the compiled kernel, or None where it cannot be had."""
    library = compile_library([_SOURCE], _FLAGS)
    if library is not None:
        library.count_marginals.restype = None
    return library


@functools.cache
def kernel_agrees() -> bool:
    """Return whether there is a kernel and its marginals and sums are those of the plain form."""
    return kernel_is_right(load_library(), _agrees, "sums over compositions", "the plain form")


def _agrees() -> bool:
    generator = torch.Generator().manual_seed(0)
    weights, sums = torch.rand(5, 4, 11, generator=generator), torch.rand(9, 4, generator=generator)
    tops = (3, 1, 2, 3, 0)
    pairs = zip(
        _by_kernel(weights, sums, tops), plain_sum_product(weights, sums, tops), strict=True
    )
    return all(bool((one - other).abs().max() <= _AGREES) for one, other in pairs)
