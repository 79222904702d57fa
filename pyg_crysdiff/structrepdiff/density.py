"""The density of neighbours around trial structures, by a C kernel where there is one.

The plain form, :meth:`EmbeddedAtomDensity.density`, makes arrays of six numbers per pair and passes
over them several times. ``native/density.c`` needs one pass. It takes the place of the plain form
in single precision on a CPU and for L = 0, where there is a C compiler and ``CRYSDIFF_NATIVE=0`` is
not set.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyg_crysdiff.compiling import compile_library, kernel_is_right, kernels_wanted
from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.neighbours import NeighbourPairs, neighbour_pairs

_SOURCE = Path(__file__).parent / "native" / "density.c"
# Sums may be taken in another order; NaN and infinity keep their meaning.
_FLAGS = ("-std=c11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math",
          "-ffp-contract=fast", "-fassociative-math", "-fno-signed-zeros")  # fmt: skip
_SPARE = 8  # numbers behind the grid that a vector of the kernel may touch
_AGREES = 1e-4


def neighbour_density(
    ead: EmbeddedAtomDensity,
    positions: Tensor,
    numbers: Tensor,
    pairs: NeighbourPairs,
    translation: Tensor,
) -> Tensor:
    """Return the density of neighbours on the radial grid, (rows, monomials, nodes).

    Args:
        ead: Descriptor.
        positions: Cartesian positions, Angstrom, (N, 3).
        numbers: Atomic numbers in the dtype of the positions, (N,).
        pairs: Pairs of atoms; a full list has a row for each centre, a half list for each atom.
        translation: :meth:`NeighbourPairs.translation` of the pairs, (3, P).
    """
    plain = positions.device.type != "cpu" or positions.dtype != torch.float32 or ead.L != (0,)
    if plain or not kernels_wanted() or not kernel_agrees():
        vectors = pairs.vectors(positions.t(), translation)
        return ead.density(vectors, pairs, numbers)
    out: Tensor = _Density.apply(positions, ead, numbers, pairs, translation)
    return out


class _List(ctypes.Structure):
    _fields_ = (
        ("pairs", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("positions", "translations", "i", "j")),
        *((name, ctypes.c_void_p) for name in ("first", "second", "numbers")),
        *((name, ctypes.c_float) for name in ("reach", "cutoff", "step")),
        ("nodes", ctypes.c_int64),
    )


class _Density(torch.autograd.Function):
    """The kernel; the arrays of the list stay in the caller's hands until the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        positions: Tensor,
        ead: EmbeddedAtomDensity,
        numbers: Tensor,
        pairs: NeighbourPairs,
        translation: Tensor,
    ) -> Tensor:
        positions = positions.contiguous()
        ctx.save_for_backward(positions)
        first, second = (pairs.i, pairs.j) if pairs.place is None else (pairs.place, None)
        ctx.arrays = (translation, pairs.i, pairs.j, first, second, numbers)
        nodes = ead.sums.num_nodes
        ctx.grid = (ead.sums.cutoff, ead.cutoff, ead.sums.step, nodes)
        rows = len(positions) if pairs.centres is None else len(pairs.centres)
        out = positions.new_zeros(rows * nodes + _SPARE)
        _library().add_density(_listed(positions, ctx.arrays, ctx.grid), _of(out))
        return out[: rows * nodes].view(rows, 1, nodes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (positions,) = ctx.saved_tensors
        slope = torch.cat([grad.reshape(-1), grad.new_zeros(_SPARE)])
        out = torch.zeros_like(positions)
        listed = _listed(positions, ctx.arrays, ctx.grid)
        _library().add_gradient(listed, _of(slope), _of(out))
        return out, None, None, None, None


def _listed(
    positions: Tensor, arrays: Sequence[Tensor | None], grid: tuple[float, float, float, int]
) -> Any:
    translation = arrays[0]
    assert translation is not None
    places = [None if a is None else _of(a) for a in arrays]
    return ctypes.byref(_List(translation.shape[1], _of(positions), *places, *grid))


def _of(array: Tensor) -> ctypes.c_void_p:
    assert array.is_contiguous()
    return ctypes.c_void_p(array.data_ptr())


def _library() -> ctypes.CDLL:
    library = load_library()
    assert library is not None
    return library


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """Return the compiled kernel, or None where it cannot be had."""
    library = compile_library([_SOURCE], _FLAGS)
    if library is not None:
        for function in (library.add_density, library.add_gradient):
            function.restype = None
    return library


@functools.cache
def kernel_agrees() -> bool:
    """Return whether there is a kernel and its density and gradient are those of the plain form."""
    return kernel_is_right(load_library(), _agrees, "densities of neighbours", "the plain form")


@torch.enable_grad()
def _agrees() -> bool:
    generator = torch.Generator().manual_seed(0)
    ead, _ = EmbeddedAtomDensity((0,), (1.0, 16.0), (0.5, 1.5, 3.0), 6.0).within(5.0)
    lattice = 4 * torch.eye(3)[None] + 0.3 * torch.randn(1, 3, 3, generator=generator)
    frac, size = torch.rand(5, 3, generator=generator), torch.tensor([5])
    numbers = torch.tensor([3.0, 8.0, 8.0, 22.0, 50.0])
    for centres in (None, torch.tensor([0, 3])):
        pairs = neighbour_pairs(frac, lattice, size, 5.5, centres=centres)
        translation, found = pairs.translation(lattice), []
        for kernel in (True, False):
            x = (frac @ lattice[0]).requires_grad_()
            if kernel:
                density = _Density.apply(x, ead, numbers, pairs, translation)
            else:
                density = ead.density(pairs.vectors(x.t(), translation), pairs, numbers)
            weights = torch.linspace(-1, 1, density.numel()).view_as(density)
            (gradient,) = torch.autograd.grad((density * weights).sum(), x)
            found.append((density.detach(), gradient))
        for one, other in zip(*found, strict=True):
            if not bool((one - other).abs().max() <= _AGREES * other.abs().max()):
                return False
    return True
