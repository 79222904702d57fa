"""Counts that add up: sums over all compositions and draws, by a C kernel where there is one.

The plain form makes some thousand small tensors for every batch of MP-20. ``native/counts.c`` keeps
a few crystals in the cache and goes over all elements with them. It takes the place of the plain
form in single precision on a CPU where there is a C compiler and ``CRYSDIFF_NATIVE=0`` is not set.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pyg_crysdiff.compiling import compile_library, kernel_is_right, kernels_wanted

_SOURCE = Path(__file__).parent / "native" / "counts.c"
_FLAGS = ("-std=c11", "-O3", "-march=native", "-fno-math-errno", "-ffp-contract=fast")
_LANES = 8  # crystals that the kernel works on side by side
_ALIGNED = 64  # bytes
_AGREES = 1e-4


class Marginals(NamedTuple):
    """What a sum over all compositions tells.

    Attributes:
        counts: Probabilities of all counts of each element, (K, C, B).
        sums: Probabilities of the numbers of atoms and of elements, (N, E, B).
        logarithm: Of the sum, (B,).
    """

    counts: Tensor
    sums: Tensor
    logarithm: Tensor


@torch.no_grad()
def sum_product(weights: Tensor, sums: Tensor, tops: Sequence[int]) -> Marginals:
    r"""Return the marginals of all counts and of their sums, and the logarithm of the whole sum.

    .. math:: Z = \sum_c r\Bigl(\sum_k c_k, \sum_k [c_k > 0]\Bigr) \prod_k w_k(c_k)

    over all compositions c, by a forward and a backward pass over the elements (Kschischang et al.,
    IEEE Trans. Inf. Theory 47, 498, 2001).

    Args:
        weights: w of every element and count, not negative, (K, C, B).
        sums: r of the number of atoms and of elements, both from 0, (N, E, B).
        tops: Largest count of each element; what is beyond has no weight, K.
    """
    if _kernel_serves(weights, sums):
        return _by_kernel(weights, sums, tops)
    return plain_sum_product(weights, sums, tops)


@torch.no_grad()
def draw(weights: Tensor, sums: Tensor, tops: Sequence[int], uniform: Tensor) -> Tensor:
    r"""Return one composition for each crystal, (B, K), as probable as its term of the sum.

    The numbers of atoms and of elements are drawn first, then the count of each element given
    those of the elements after it: backward sampling behind a forward filter (Carter & Kohn,
    Biometrika 81, 541, 1994).

    Args:
        weights: See :func:`sum_product`.
        sums: See :func:`sum_product`.
        tops: See :func:`sum_product`.
        uniform: Independent numbers from [0, 1): of each element, and of the numbers of atoms and
            of elements, (B, K + 1).
    """
    if _kernel_serves(weights, sums) and uniform.dtype == torch.float32:
        return _draw_by_kernel(weights, sums, tops, uniform)
    return plain_draw(weights, sums, tops, uniform)


def _kernel_serves(weights: Tensor, sums: Tensor) -> bool:
    on_cpu = weights.device.type == "cpu" and weights.dtype == sums.dtype == torch.float32
    return on_cpu and kernels_wanted() and kernel_agrees()


def plain_sum_product(weights: Tensor, sums: Tensor, tops: Sequence[int]) -> Marginals:
    """Return the same as :func:`sum_product` by operations of torch."""
    rows, before, logarithm = _filtered(weights, sums, tops)
    joint, total = _normal(before.pop() * sums, (0, 1))
    later, out = sums, torch.zeros_like(weights)
    for k in reversed(range(len(rows))):
        chance, later = _both_sides(before[k], later, rows[k])
        out[k, : len(chance)] = chance
    return Marginals(out, joint, logarithm + total.log())


def plain_draw(weights: Tensor, sums: Tensor, tops: Sequence[int], uniform: Tensor) -> Tensor:
    """Return the same as :func:`draw` by operations of torch."""
    rows, before, _ = _filtered(weights, sums, tops)
    crystal = torch.arange(len(uniform), device=uniform.device)
    place = _chosen((before.pop() * sums).flatten(0, 1), uniform[:, -1])
    atoms, kinds = place // sums.shape[1], place % sums.shape[1]
    out = []
    for k in reversed(range(len(rows))):
        count = torch.arange(len(rows[k]), device=uniform.device).unsqueeze(1)
        left = atoms - count, kinds - (count > 0).long()
        table = before[k][left[0].clamp(min=0), left[1].clamp(min=0), crystal]
        chance = torch.where((left[0] >= 0) & (left[1] >= 0), table * rows[k], 0.0)
        found = _chosen(chance, uniform[:, k])
        atoms, kinds = atoms - found, kinds - (found > 0).long()
        out.append(found)
    return torch.stack(out[::-1], 1)


def _chosen(weights: Tensor, part: Tensor) -> Tensor:
    """Return the first place where the weights so far are more than a part of all, (M, B), (B,)."""
    so_far = weights.cumsum(0)
    place, last = (so_far <= part * so_far[-1]).sum(0), (so_far < so_far[-1]).sum(0)
    return torch.minimum(place, last)


def _filtered(
    weights: Tensor, sums: Tensor, tops: Sequence[int]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Weights of each element, distributions before each and after all, logarithm of their sum."""
    rows = [row[: top + 1] for row, top in zip(weights, tops, strict=True)]
    before = [none_yet(sums.shape[:2], weights.shape[2], weights)]
    logarithm = weights.new_zeros(weights.shape[2])
    for row in rows:
        state, total = after(before[-1], row)
        before.append(state)
        logarithm += total.log()
    return rows, before, logarithm


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


def _both_sides(earlier: Tensor, later: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of an element's counts, and the weight of it and those after it.

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
    return _normal(torch.stack(chance) * weights, (0,))[0], _normal(out, (0, 1))[0]


def _normal(weights: Tensor, over: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    total = weights.sum(over).clamp(min=torch.finfo(weights.dtype).tiny)
    return weights / total, total


class _Task(ctypes.Structure):
    _fields_ = (
        *((n, ctypes.c_int64) for n in ("elements", "counts", "atoms", "kinds", "crystals")),
        *((n, ctypes.c_void_p) for n in ("tops", "weights", "sums", "scratch")),
    )


def _by_kernel(weights: Tensor, sums: Tensor, tops: Sequence[int]) -> Marginals:
    marginals = torch.zeros(weights.shape), torch.empty(sums.shape), torch.empty(weights.shape[2])
    _call("count_marginals", weights, sums, tops, *marginals)
    return Marginals(*marginals)


def _draw_by_kernel(weights: Tensor, sums: Tensor, tops: Sequence[int], uniform: Tensor) -> Tensor:
    drawn = torch.empty(len(weights), len(uniform), dtype=torch.long)
    _call("count_draws", weights, sums, tops, uniform.t().contiguous(), drawn)
    return drawn.t()


def _call(name: str, weights: Tensor, sums: Tensor, tops: Sequence[int], *more: Tensor) -> None:
    weights, sums, top = weights.contiguous(), sums.contiguous(), torch.tensor(tops)
    elements, counts, crystals = weights.shape
    atoms, kinds, _ = sums.shape
    scratch = torch.empty(((elements + 2) * atoms * kinds + 2 * counts) * _LANES + _ALIGNED // 4)
    first = scratch.data_ptr() + -scratch.data_ptr() % _ALIGNED
    task = _Task(elements, counts, atoms, kinds, crystals, top.data_ptr(), weights.data_ptr(),
                 sums.data_ptr(), first)  # fmt: skip
    places = [ctypes.c_void_p(part.data_ptr()) for part in more]
    getattr(load_library(), name)(ctypes.byref(task), *places)


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """Return the compiled kernel, or None where it cannot be had."""
    library = compile_library([_SOURCE], _FLAGS)
    if library is not None:
        library.count_marginals.restype = library.count_draws.restype = None
    return library


@functools.cache
def kernel_agrees() -> bool:
    """Return whether there is a kernel and it finds and draws what the plain forms do."""
    return kernel_is_right(load_library(), _agrees, "sums over compositions", "the plain form")


def _agrees() -> bool:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(5, 4, 11, generator=generator)
    sums, tops = torch.rand(9, 4, 11, generator=generator), (3, 1, 2, 3, 0)
    uniform = torch.rand(11, 6, generator=generator)
    pairs = zip(
        _by_kernel(weights, sums, tops), plain_sum_product(weights, sums, tops), strict=True
    )
    drawn = [form(weights, sums, tops, uniform) for form in (_draw_by_kernel, plain_draw)]
    return torch.equal(*drawn) and all(
        bool((one - other).abs().max() <= _AGREES) for one, other in pairs
    )
