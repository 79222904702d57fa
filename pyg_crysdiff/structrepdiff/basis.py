"""The coordinates in which representations are diffused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Entries(nn.Module):
    """Every standardised entry is a coordinate of its own: the form of arXiv 2408.07213.

    Args:
        widths: Entries of the parts of a representation: pooled EAD, smallest distance,
            composition, N, cell.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        descriptor, distance, composition, number, cell = widths
        self.parts = (descriptor + distance, composition, number + cell)
        self.dim = sum(self.parts)

    @property
    def fitted(self) -> bool:
        """Whether the coordinates depend on a training set, and have been learned."""
        return False

    def fit(self, values: Tensor, std: Tensor) -> None:
        """Learn the coordinates from the training set; nothing to learn here.

        Args:
            values: Standardised representations, (M, D); entries that do not vary are 0.
            std: Standard deviation of each entry before, (D,).
        """
        del values, std

    def forward(self, values: Tensor) -> Tensor:
        """Return the coordinates of standardised representations, (B, D) -> (B, dim)."""
        return values

    def inverse(self, coordinates: Tensor) -> Tensor:
        """Return standardised representations, (B, dim) -> (B, D)."""
        return coordinates


class Principal(nn.Module):
    r"""Principal components of the descriptor and of the cell, elements in one common unit.

    Neighbouring shells of a descriptor are nearly the same number several times over, and the six
    numbers of a symmetric cell obey equations. Noise on single entries breaks both, and the result
    is the representation of no crystal. Here

    - descriptor and smallest distance are the components :math:`V^T z / \sqrt{\lambda + f}` with
      the largest eigenvalues :math:`\lambda` of their correlation, f the floor: what varies less
      than the floor is not blown up to the size of what varies most;
    - N and the cell are components of unit variance; combinations that never vary (all cells of
      Perov-5 are cubes) are no coordinates, so nothing generated can break them;
    - all elements have the root mean square of their standard deviations as unit, so that a rare
      element is as high above the noise as a frequent one.

    The map is linear. Coordinates that the training set does not fill are 0.

    Args:
        widths: See :class:`Entries`.
        components: Components of the descriptor.
        floor: f, relative to the mean variance of an entry.
        composition_scale: Factor on the coordinates of the elements: the larger, the earlier in
            the reverse process the composition is decided.
    """

    matrix: Tensor
    back: Tensor

    def __init__(
        self,
        widths: Sequence[int],
        components: int = 96,
        floor: float = 0.0,
        composition_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if components < 1 or floor < 0 or composition_scale <= 0:
            raise ValueError(
                f"a basis needs components, no negative floor and a positive scale, got "
                f"components={components}, floor={floor}, composition_scale={composition_scale}"
            )
        descriptor, distance, composition, number, cell = widths
        self.cuts = (descriptor + distance, composition, number + cell)
        self.parts = (min(components, self.cuts[0]), composition, number + cell)
        self.dim, self.floor = sum(self.parts), floor
        self.composition_scale = composition_scale
        self.register_buffer("matrix", torch.zeros(sum(widths), self.dim))
        self.register_buffer("back", torch.zeros(self.dim, sum(widths)))

    @property
    def fitted(self) -> bool:
        """Whether the coordinates have been learned from a training set."""
        return bool(self.matrix.any())

    def fit(self, values: Tensor, std: Tensor) -> None:
        """Learn the coordinates from the training set; see :meth:`Entries.fit`."""
        descriptor, _, frame = values.split(self.cuts, 1)
        unit = std.split(self.cuts)[1]
        unit = unit / _root_mean_square(unit[unit > 0]) * self.composition_scale
        blocks = (
            _principal(descriptor, self.parts[0], self.floor),
            (torch.diag(unit), torch.diag(torch.where(unit > 0, 1 / unit.clamp(min=1e-12), 0))),
            _principal(frame, self.parts[2], 0.0),
        )
        self.matrix.copy_(torch.block_diag(*(there for there, _ in blocks)))
        self.back.copy_(torch.block_diag(*(back for _, back in blocks)))

    def forward(self, values: Tensor) -> Tensor:
        """Return the coordinates of standardised representations, (B, D) -> (B, dim)."""
        return values @ self.matrix

    def inverse(self, coordinates: Tensor) -> Tensor:
        """Return standardised representations, (B, dim) -> (B, D)."""
        return coordinates @ self.back


Basis = Entries | Principal
_KINDS: dict[str, type[Entries] | type[Principal]] = {"entries": Entries, "principal": Principal}


def build_basis(widths: Sequence[int], config: Mapping[str, Any] | None) -> Basis:
    """Return the basis of a configuration; None, of older checkpoints, stands for entries.

    Raises:
        ValueError: If the kind is unknown or a setting is bad.
    """
    options = dict(config or {"kind": "entries"})
    kind = options.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"unknown basis {kind!r}; choose from {list(_KINDS)}")
    if kind == "entries":
        options = {}
    try:
        return _KINDS[kind](widths, **options)
    except TypeError as error:
        raise ValueError(f"bad settings of the basis {kind!r}: {error}") from error


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt() if len(values) else values.new_ones(())


def _principal(values: Tensor, count: int, floor: float) -> tuple[Tensor, Tensor]:
    """Map to the leading components and back, (D, count) and (count, D); values have mean 0."""
    z = values.double()
    variance, vectors = torch.linalg.eigh(z.t() @ z / len(z))
    variance, vectors = variance.flip(0)[:count], vectors.flip(1)[:, :count]
    # The sign is free, and not the same on every machine: the largest entry is positive.
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * largest.sign()
    scale = (variance.clamp(min=0) + floor).sqrt()
    carries = variance > 1e-7 * variance.amax().clamp(min=1e-12)
    there = torch.where(carries, vectors / scale.clamp(min=1e-12), 0.0)
    back = torch.where(carries.unsqueeze(1), (vectors * scale).t(), 0.0)
    return there.to(values.dtype), back.to(values.dtype)
