"""Find all pairs of atoms within a radius, periodic images included, for a batch of crystals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 2_000_000


@dataclass(frozen=True)
class NeighbourPairs:
    """Pairs of atoms and images of atoms.

    A half list has one of the two mirror images (i, j, n) and (j, i, -n) of each pair. A full list
    has every neighbour j of some atoms i, the centres.

    Attributes:
        i: First atom, (P,).
        j: Second atom, (P,).
        shift: Lattice translation of j in units of the cell vectors, (P, 3), integers stored in
            the dtype of the coordinates.
        crystal: Crystal of both, (P,).
        centres: The centres of a full list, (C,); None for a half list.
        place: Place of i among them, (P,).
    """

    i: Tensor
    j: Tensor
    shift: Tensor
    crystal: Tensor
    centres: Tensor | None = None
    place: Tensor | None = None

    def select(self, index: Tensor) -> NeighbourPairs:
        """Return some of the pairs."""
        place = None if self.place is None else self.place[index]
        i, j, shift, crystal = (x[index] for x in (self.i, self.j, self.shift, self.crystal))
        return NeighbourPairs(i, j, shift, crystal, self.centres, place)

    def translation(self, lattice: Tensor) -> Tensor:
        """Return the translations in Angstrom, (3, P)."""
        return torch.einsum("pk,pkx->xp", self.shift, lattice[self.crystal]).contiguous()

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
    centres: Tensor | None = None,
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
        centres: Atoms whose neighbours are wanted, (C,), for a full list; None for a half list of
            all pairs.

    Raises:
        ValueError: If a cell has no volume.
    """
    device = frac_coords.device
    crystal = torch.repeat_interleave(torch.arange(len(num_atoms), device=device), num_atoms)
    ends = torch.cumsum(num_atoms, 0)[crystal]
    atoms = torch.arange(len(crystal), device=device)
    if centres is None:
        first = atoms if own_images else atoms + 1
    else:
        atoms, ends, first = centres, ends[centres], (ends - num_atoms[crystal])[centres]
    place = torch.repeat_interleave(ends - first)
    i = atoms[place]
    j = _counted(ends - first) + first[place]
    pairs, shift = _images(frac_coords[j] - frac_coords[i], lattice, crystal[i], cutoff)
    wanted = (i != j)[pairs]
    own = torch.nonzero(~wanted).flatten()
    if centres is None:
        wanted[own] = _positive(shift[own])
    elif own_images:
        wanted[own] = (shift[own] != 0).any(1)
    pairs, shift = pairs[wanted], shift[wanted]
    i = i[pairs]
    if centres is None:
        return NeighbourPairs(i, j[pairs], shift, crystal[i])
    return NeighbourPairs(i, j[pairs], shift, crystal[i], centres, place[pairs])


def _images(
    offset: Tensor, lattice: Tensor, crystal: Tensor, cutoff: float
) -> tuple[Tensor, Tensor]:
    """Return the pairs (P,) and translations (P, 3) for which offset + translation is short.

    Crystals that follow one another in one cell, as the trial structures of a search, share a
    table of translations, and one matrix product gives the distances of all.
    """
    inverse = _inverse(lattice)
    cells, run = torch.unique_consecutive(lattice.flatten(1), dim=0, return_inverse=True)
    number = torch.bincount(run[crystal], minlength=len(cells)).tolist()
    own = torch.cat([run.new_zeros(1), 1 + torch.nonzero(run[1:] != run[:-1]).flatten()]).tolist()
    nearest = -torch.round(offset)
    pairs, shifts, first = [], [], 0
    for k, count in zip(own, number, strict=True):
        part = slice(first, first + count)
        vectors = (offset[part] + nearest[part]) @ lattice[k]
        table = _translations(lattice[k], inverse[k], cutoff + float(vectors.norm(dim=1).max()))
        places = table @ lattice[k]
        for block in torch.arange(count, device=offset.device).split(1 + _CHUNK // len(table)):
            near = vectors[block]
            # |v + t|^2 = v^2 + 2 v t + t^2
            squares = torch.addmm(places.square().sum(1), near, places.t(), alpha=2)
            short = squares < (cutoff**2 - near.square().sum(1)).unsqueeze(1)
            pair, row = torch.nonzero(short, as_tuple=True)
            pair = pair + (first + int(block[0]))
            pairs.append(pair)
            shifts.append(table[row] + nearest[pair])
        first += count
    return torch.cat(pairs or [crystal[:0]]), torch.cat(shifts or [offset[:0]])


def _translations(lattice: Tensor, inverse: Tensor, radius: float) -> Tensor:
    """Return the lattice translations up to a radius, in units of the cell vectors, (T, 3)."""
    # Distance between lattice planes k: 1 / |k-th row of the inverse transpose|.
    most = torch.floor(radius * inverse.norm(dim=0)).long().tolist()
    axes = [torch.arange(-m, m + 1, device=lattice.device, dtype=lattice.dtype) for m in most]
    box = torch.cartesian_prod(*axes)
    return box[(box @ lattice).square().sum(1) <= radius**2]


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


def _positive(n: Tensor) -> Tensor:
    """Whether the first entry that is not zero is positive; false for (0, 0, 0)."""
    a, b, c = n.unbind(1)
    return (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c > 0))))
