"""The vector that represents a crystal, and how to read it back (arXiv 2408.07213, 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pyg_crysdiff.structrepdiff.composition import KnownCounts, fit_counts
from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.neighbours import neighbour_pairs
from pyg_crysdiff.structrepdiff.objective import pool
from pyg_crysdiff.structrepdiff.snapping import symmetric_cell
from pyg_crysdiff.structrepdiff.starts import Array, Frame

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

_SMALLEST_ANGLE = 20.0
_SHORTEST_LENGTH = 1.5


@dataclass(frozen=True)
class Parts:
    """The parts of representations.

    Attributes:
        pooled: Maxima and minima of the EAD, (B, 2 D).
        min_distance: Smallest distance between atoms, Angstrom, (B,).
        composition: Element fractions, (B, K).
        num_atoms: N, (B,).
        cell: a, b, c in Angstrom and alpha, beta, gamma in degrees, (B, 6).
    """

    pooled: Tensor
    min_distance: Tensor
    composition: Tensor
    num_atoms: Tensor
    cell: Tensor


class Representation(nn.Module):
    r"""R = [max-pooled EAD, min-pooled EAD, smallest distance, composition, N, cell].

    Args:
        elements: Atomic numbers of the data set, ascending; K of them.
        ead: Arguments of :class:`EmbeddedAtomDensity`, with ``centres`` as (first, last, step).
        root: Store square roots of the EAD, whose distribution is closer to a normal one.
        counts: The composition is the number of atoms of each element, not their fractions.
    """

    elements: Tensor

    def __init__(
        self,
        elements: Sequence[int],
        ead: Mapping[str, Any],
        root: bool = True,
        counts: bool = False,
    ) -> None:
        super().__init__()
        options = dict(ead)
        first, last, step = options.pop("centres")
        centres = np.arange(first, last + 0.5 * step, step).tolist()
        self.ead = EmbeddedAtomDensity(centres=centres, **options)
        self.root, self.counts = root, counts
        self.register_buffer("elements", torch.tensor(sorted(elements)), persistent=False)
        self.widths = (2 * self.ead.dim, 1, len(elements), 1, 6)
        self.dim = sum(self.widths)

    @torch.no_grad()
    def forward(self, batch: Batch | Data) -> Tensor:
        """Return the representations of a PyG batch, (B, dim).

        Raises:
            ValueError: If an element is not in the list.
        """
        lattice = batch.lattice.view(-1, 3, 3)
        sizes = batch.num_atoms.view(-1)
        kinds = torch.searchsorted(self.elements, batch.atomic_numbers)
        known = self.elements[kinds.clamp(max=len(self.elements) - 1)] == batch.atomic_numbers
        if not bool(known.all()):
            unknown = sorted(set(batch.atomic_numbers[~known].tolist()))
            raise ValueError(f"atomic numbers {unknown} do not occur in the training set")
        pooled = pool(self.ead.forward_batch(batch), sizes)
        owner = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
        counts = pooled.new_zeros(len(sizes), len(self.elements))
        counts.index_put_((owner, kinds), pooled.new_ones(()), accumulate=True)
        parts = Parts(
            pooled=pooled.sqrt() if self.root else pooled,
            min_distance=smallest_distances(batch.frac_coords, lattice, sizes),
            composition=counts if self.counts else counts / sizes.unsqueeze(1),
            num_atoms=sizes.to(pooled.dtype),
            cell=cell_parameters(lattice),
        )
        return torch.cat(
            [parts.pooled, parts.min_distance.unsqueeze(1), parts.composition,
             parts.num_atoms.unsqueeze(1), parts.cell], 1,
        )  # fmt: skip

    def parts(self, representation: Tensor) -> Parts:
        """Cut representations (B, dim) into their parts.

        EAD values are squares again, and counts are fractions; their sum is the number of atoms.
        """
        pooled, distance, composition, count, cell = representation.split(self.widths, 1)
        pooled = pooled.clamp(min=0)
        squares = pooled.square() if self.root else pooled
        count = count.squeeze(1)
        if self.counts:
            composition = composition.clamp(min=0)
            count = composition.sum(1)
            composition = composition / count.clamp(min=1e-6).unsqueeze(1)
        return Parts(squares, distance.squeeze(1), composition, count, cell)

    def frames(
        self,
        parts: Parts,
        sizes: Sequence[int],
        known: KnownCounts | None = None,
        cell_tolerance: float = 0.0,
    ) -> list[Frame]:
        """Return what is known of each crystal before its coordinates.

        Species are the best integer fit, the cell is repaired where it would have no volume.

        Args:
            parts: Parts of representations.
            sizes: Numbers of atoms that occur, from which N is chosen.
            known: Known counts of atoms per element; None rounds fractions to whole atoms.
            cell_tolerance: See :func:`pyg_crysdiff.structrepdiff.snapping.symmetric_cell`; 0
                leaves cells as they are.
        """
        out = []
        for composition, n, cell, distance in zip(
            parts.composition.cpu().double().numpy(), parts.num_atoms.tolist(),
            parts.cell.cpu().double().numpy(), parts.min_distance.tolist(), strict=True,
        ):  # fmt: skip
            counts = (
                fit_counts(composition, n, sizes) if known is None else known.fit(composition, n)
            )
            numbers = np.repeat(self.elements.cpu().numpy(), counts)
            lattice = lattice_matrix(repair_cell(cell))
            if cell_tolerance:
                lattice = symmetric_cell(lattice, cell_tolerance)
            volume = abs(float(np.linalg.det(lattice)))
            # No packing has a smallest distance beyond that of close-packed spheres.
            closest = min(max(distance, 0.5), 1.12 * (volume / len(numbers)) ** (1 / 3))
            out.append(Frame(lattice, numbers, closest))
        return out


@torch.no_grad()
def smallest_distances(frac_coords: Tensor, lattice: Tensor, sizes: Tensor) -> Tensor:
    """Return the smallest distance between atoms of each crystal, own images included, (B,)."""
    # Two atoms are never further apart than the shortest translation of the cell.
    cutoff = float(lattice.norm(dim=2).amin(1).max()) * 1.001
    pairs = neighbour_pairs(frac_coords, lattice, sizes, cutoff)
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=sizes.device), sizes)
    positions = torch.einsum("nk,nkx->xn", frac_coords, lattice[owner])
    distance = pairs.vectors(positions, pairs.translation(lattice)).norm(dim=0)
    out = distance.new_full((len(sizes),), torch.inf)
    return out.scatter_reduce(0, pairs.crystal, distance, "amin")


def cell_parameters(lattice: Tensor) -> Tensor:
    """Return a, b, c (Angstrom) and alpha, beta, gamma (degrees) of row lattices, (B, 6)."""
    lengths = lattice.norm(dim=2)
    unit = lattice / lengths.unsqueeze(2)
    cosines = torch.stack(
        [(unit[:, i] * unit[:, j]).sum(1) for i, j in ((1, 2), (0, 2), (0, 1))], 1
    )
    return torch.cat([lengths, torch.rad2deg(torch.arccos(cosines.clamp(-1, 1)))], 1)


def repair_cell(cell: Array) -> Array:
    """Return the nearest lengths and angles that span a cell, (6,).

    Lengths are at least 1.5 Angstrom. Three angles close a cell if each is less than the sum of
    the others and all add up to less than 360 degrees; otherwise they are moved towards 90 degrees
    until the cell has a tenth of the volume of a right-angled one.
    """
    out = np.nan_to_num(np.array(cell, dtype=float), nan=90.0)
    out[:3] = np.clip(out[:3], _SHORTEST_LENGTH, None)
    out[3:] = np.clip(out[3:], _SMALLEST_ANGLE, 180 - _SMALLEST_ANGLE)
    for shrink in np.linspace(1, 0, 21):
        angles = 90 + shrink * (out[3:] - 90)
        a, b, c = np.cos(np.radians(angles))
        if 1 - a * a - b * b - c * c + 2 * a * b * c > 0.01:
            break
    out[3:] = angles
    return out


def lattice_matrix(cell: Array) -> Array:
    """Return the row lattice of six parameters, in pymatgen's orientation, (3, 3)."""
    from pymatgen.core import Lattice  # noqa: PLC0415

    matrix: Array = Lattice.from_parameters(*cell.tolist()).matrix.copy()
    return matrix
