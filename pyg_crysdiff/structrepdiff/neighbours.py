"""Find all pairs of atoms within a radius, periodic images included, for a batch of crystals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 2_000_000


@dataclass(frozen=True)
class NeighbourPairs:
    """A half list: of the two mirror images (i, j, n) and (j, i, -n) of a pair only one is kept.

    Attributes:
        i: First atom, (P,).
        j: Second atom, (P,).
        shift: Lattice translation of j in units of the cell vectors, (P, 3), integers stored in
            the dtype of the coordinates.
        crystal: Crystal of both, (P,).
    """

    i: Tensor
    j: Tensor
    shift: Tensor
    crystal: Tensor

    def translation(self, lattice: Tensor) -> Tensor:
        """Return the translations in Angstrom, (3, P)."""
        return torch.einsum("pk,pkx->xp", self.shift, lattice[self.crystal])

    def vectors(self, positions: Tensor, translation: Tensor) -> Tensor:
        """Return the vectors from i to the image of j, (3, P).

        Args:
            positions: Cartesian positions, (3, N).
            translation: See :meth:`translation`.
        """
        # index_select and not [...]: its backward is several times faster on a CPU.
        return positions.index_select(1, self.j) - positions.index_select(1, self.i) + translation


@torch.no_grad()
def neighbour_pairs(
    frac_coords: Tensor,
    lattice: Tensor,
    num_atoms: Tensor,
    cutoff: float,
    own_images: bool = True,
) -> NeighbourPairs:
    """List all pairs closer than ``cutoff``, every periodic image included.

    The images of a pair lie in a box that the plane spacings of the cell bound exactly, so any
    cell shape is right without reduction. Candidates are tested in blocks of bounded size.

    Args:
        frac_coords: Fractional coordinates, (N, 3), of any integer part; crystals contiguous.
        lattice: Row lattices, Angstrom, (B, 3, 3).
        num_atoms: Atoms per crystal, (B,).
        cutoff: Radius, Angstrom.
        own_images: Include the pairs of an atom with its own images.

    Raises:
        ValueError: If a cell has no volume.
    """
    device = frac_coords.device
    crystal = torch.repeat_interleave(torch.arange(len(num_atoms), device=device), num_atoms)
    ends = torch.cumsum(num_atoms, 0)[crystal]
    atoms = torch.arange(len(crystal), device=device)
    first = atoms if own_images else atoms + 1
    i = torch.repeat_interleave(atoms, ends - first)
    j = _counted(ends - first) + first[i]
    # Distance between lattice planes k: 1 / |k-th row of the inverse transpose|.
    reach = cutoff * _inverse(lattice).norm(dim=1)[crystal[i]]
    offset = frac_coords[j] - frac_coords[i]
    low = torch.ceil(-reach - offset)
    count = (torch.floor(reach - offset) - low + 1).clamp(min=0).long()
    found = []
    candidates = count.prod(1)
    for block in _blocks(candidates, _CHUNK):
        number = candidates[block]
        pair = block[0] + torch.repeat_interleave(number)
        index = _counted(number)
        m2, m3 = count[pair, 1], count[pair, 2]
        n = torch.stack([index // (m2 * m3), index // m3 % m2, index % m3], 1) + low[pair]
        vector = torch.einsum("pk,pkx->px", offset[pair] + n, lattice[crystal[i[pair]]])
        keep = vector.square().sum(1) < cutoff**2
        same = i[pair] == j[pair]
        keep &= ~same | _positive(n)
        found.append((pair[keep], n[keep]))
    pairs = torch.cat([p for p, _ in found] or [i[:0]])
    shift = torch.cat([n for _, n in found] or [offset[:0]])
    return NeighbourPairs(i[pairs], j[pairs], shift, crystal[i[pairs]])


def _inverse(lattice: Tensor) -> Tensor:
    inverse, info = torch.linalg.inv_ex(lattice)
    if bool(info.any()) or not bool(torch.isfinite(inverse).all()):
        bad = torch.nonzero((info != 0) | ~torch.isfinite(inverse).flatten(1).all(1)).flatten()
        raise ValueError(f"crystals {bad.tolist()} of the batch have a cell without volume")
    return inverse


def _counted(lengths: Tensor) -> Tensor:
    """Return 0..l-1 for every length l, concatenated."""
    starts = torch.cumsum(lengths, 0) - lengths
    total = int(lengths.sum())
    position = torch.arange(total, device=lengths.device)
    return position - torch.repeat_interleave(starts, lengths)


def _blocks(counts: Tensor, limit: int) -> list[Tensor]:
    """Cut positions into consecutive blocks whose counts add up to about ``limit`` at most."""
    if not len(counts):
        return []
    number = torch.div(torch.cumsum(counts, 0), limit, rounding_mode="floor")
    sizes = torch.unique_consecutive(number, return_counts=True)[1].tolist()
    return list(torch.arange(len(counts), device=counts.device).split(sizes))


def _positive(n: Tensor) -> Tensor:
    """Whether the first entry that is not zero is positive; false for (0, 0, 0)."""
    a, b, c = n.unbind(1)
    return (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c > 0))))
