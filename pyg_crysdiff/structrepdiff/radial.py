"""Fast sums of many narrow functions over many distances, by B-splines on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pyg_crysdiff.platform import DoubleTable

_PAD = 24  # nodes beyond both ends, where the spline coefficients forget the boundary
_ORDER = 6  # weights per distance: quintic B-splines
_NODES_PER_WIDTH = 5.0


class GaussianSums(nn.Module):
    r"""Gaussian functions of a distance, summed per row without a (distances x functions) array.

    A sum :math:`\sum_p w_p \exp(-\eta (r_p - R)^2)` is linear in the density of distances. The
    density is laid down on a fine grid with quintic B-splines (six weights per distance), and one
    matrix product with the spline coefficients of all functions gives all sums. The interpolation
    error is below 1e-6 of a function's maximum.

    Args:
        eta: Exponents, 1/Angstrom^2.
        centres: Centres R, Angstrom; the functions are all pairs (eta, R), R running fastest.
        cutoff: Largest distance, Angstrom.
    """

    def __init__(self, eta: Sequence[float], centres: Sequence[float], cutoff: float) -> None:
        super().__init__()
        self._set(
            np.repeat(np.asarray(eta, dtype=float), len(centres)),
            np.tile(np.asarray(centres, dtype=float), len(eta)),
            cutoff,
        )

    def _set(self, eta: NDArray[np.float64], centres: NDArray[np.float64], cutoff: float) -> None:
        from scipy.linalg import solve_banded  # noqa: PLC0415

        self.cutoff, self.eta, self.centres = cutoff, eta, centres
        self.step = 1 / math.sqrt(2 * max(eta, default=1.0)) / _NODES_PER_WIDTH
        nodes = np.arange(-_PAD, math.ceil(cutoff / self.step) + _PAD + 1) * self.step
        values = np.exp(-eta * (nodes[:, None] - centres) ** 2)
        # Values of the quintic B-spline at its integer knots.
        bands = np.array([1, 26, 66, 26, 1])[:, None] / 120 * np.ones((1, len(nodes)))
        solved = solve_banded((2, 2), bands, values)
        first = _PAD - _ORDER // 2 + 1
        kept = torch.from_numpy(np.ascontiguousarray(solved[first : len(nodes) - first]))
        self.coefficients = DoubleTable(kept)

    @property
    def num_nodes(self) -> int:
        """Number of grid points."""
        return len(self.coefficients.values)

    def within(
        self, reach: float, largest_eta: float | None = None, tail: float = 1e-4
    ) -> tuple[Self, Tensor]:
        """Restrict to the functions that distances beyond ``reach`` do not touch.

        Args:
            reach: Radius, Angstrom.
            largest_eta: Keep only functions as wide as this or wider; None for all.
            tail: Value of a function at ``reach`` that counts as nothing.

        Returns:
            A module of the kept functions with ``reach`` as cutoff, and their numbers.
        """
        wanted = self.centres + np.sqrt(-math.log(tail) / self.eta) <= reach
        if largest_eta is not None:
            wanted &= self.eta <= largest_eta
        keep = np.flatnonzero(wanted)
        out = type(self).__new__(type(self))
        nn.Module.__init__(out)
        # A grid of its own: wide functions need few nodes.
        out._set(self.eta[keep], self.centres[keep], min(reach, self.cutoff))
        return out, torch.from_numpy(keep)

    def density(
        self, distance: Tensor, rows: Sequence[Tensor], weights: Sequence[Tensor], num_rows: int
    ) -> Tensor:
        """Lay weighted distances down on the grid of their row.

        Args:
            distance: Distances, (P,); at the cutoff or beyond they do not count.
            rows: Row of each distance, (P,); a distance may go to several rows.
            weights: Weights of each distance for the respective row, (C, P).
            num_rows: Number of rows.

        Returns:
            Shape (num_rows, C, nodes).
        """
        inside = distance < self.cutoff
        x = torch.where(inside, distance, 0.0) / self.step
        density = distance.new_zeros(num_rows, len(weights[0]), self.num_nodes)
        for row, weight in zip(rows, weights, strict=True):
            density = _Deposit.apply(density, x, row, weight * inside)
        return density

    def forward(self, density: Tensor) -> Tensor:
        """Return the sums, (rows, C, nodes) -> (rows, C, functions)."""
        return density @ self.coefficients.on(density.device, density.dtype)


class _Deposit(torch.autograd.Function):
    """Add weights at positions x to a grid, in place: out[row, c, k] += w[c, p] B(x[p] - k)."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, x: Tensor, row: Tensor, weight: Tensor) -> Tensor:
        node = x.floor()
        shape = _quintic(x).t() @ _powers(x - node)
        ctx.save_for_backward(x, row, weight)
        ctx.mark_dirty(grid)
        flat = grid.view(-1)
        for c, index in _addresses(grid.shape, row, node):
            flat.scatter_add_(0, index.view(-1), (shape * weight[c]).view(-1))
        return grid

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, row, weight = ctx.saved_tensors
        node = x.floor()
        powers, spline = _powers(x - node), _quintic(x)
        shape = spline.t() @ powers
        degrees = torch.arange(1, _ORDER, dtype=x.dtype, device=x.device).unsqueeze(1)
        slope = (spline[1:] * degrees).t() @ powers[:-1]
        flat = grad.contiguous().view(-1)
        to_x, to_weight = torch.zeros_like(x), torch.empty_like(weight)
        for c, index in _addresses(grad.shape, row, node):
            seen = flat.index_select(0, index.view(-1)).view(shape.shape)
            to_weight[c] = (seen * shape).sum(0)
            to_x += (seen * slope).sum(0) * weight[c]
        return grad, to_x, None, to_weight


def _addresses(shape: torch.Size, row: Tensor, node: Tensor) -> list[tuple[int, Tensor]]:
    """Flat grid addresses (6, P) of every channel."""
    _, channels, nodes = shape
    steps = torch.arange(_ORDER, device=row.device).unsqueeze(1)
    first = row * (channels * nodes) + node.long()
    return [(c, first + c * nodes + steps) for c in range(channels)]


def _powers(u: Tensor) -> Tensor:
    """Return 1, u, u^2, ... as rows, (6, P)."""
    out = u.new_empty(_ORDER, len(u))
    out[0] = 1.0
    for k in range(1, _ORDER):
        torch.mul(out[k - 1], u, out=out[k])
    return out


def _quintic(like: Tensor) -> Tensor:
    """Coefficients of u^k (rows) in the six quintic B-splines that overlap [0, 1)."""
    table = [
        [1, 26, 66, 26, 1, 0],
        [-5, -50, 0, 50, 5, 0],
        [10, 20, -60, 20, 10, 0],
        [-10, 20, 0, -20, 10, 0],
        [5, -20, 30, -20, 5, 0],
        [-1, 5, -10, 10, -5, 1],
    ]
    return torch.tensor(table, dtype=like.dtype, device=like.device) / 120
