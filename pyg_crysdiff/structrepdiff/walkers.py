"""Trial structures of a reconstruction, and what a descent varies of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pyg_crysdiff.structrepdiff.orbits import Orbits
from pyg_crysdiff.structrepdiff.starts import Array, Frame

_PAIRS_AT_ONCE = 400_000


@dataclass(frozen=True)
class Centres:
    """Atoms whose surroundings are those of all atoms, one of each orbit.

    Attributes:
        atoms: The centres, (C,).
        sizes: Centres per walker, (W,).
        repeats: Atoms that each stands for, (C,).
    """

    atoms: Tensor
    sizes: Tensor
    repeats: Tensor


@dataclass(frozen=True)
class Walkers:
    """Trial structures, several for each crystal, in fixed cells.

    Attributes:
        positions: Cartesian positions, Angstrom, (A, 3), walker after walker.
        numbers: Atomic numbers, (A,).
        lattice: Row lattices, (W, 3, 3).
        sizes: Atoms per walker, (W,).
        crystal: Crystal that each walker tries to be, (W,).
        closest: Smallest wanted distance between atoms, Angstrom, (W,).
        orbits: Symmetry of each walker, None for none; empty where no walker has one.
    """

    positions: Tensor
    numbers: Tensor
    lattice: Tensor
    sizes: Tensor
    crystal: Tensor
    closest: Tensor
    orbits: tuple[Orbits | None, ...] = ()

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def owner(self) -> Tensor:
        """Walker of each atom, (A,)."""
        index = torch.arange(len(self), device=self.sizes.device)
        return torch.repeat_interleave(index, self.sizes)

    @property
    def frac_coords(self) -> Tensor:
        """Fractional coordinates, (A, 3)."""
        inverse = torch.linalg.inv(self.lattice)
        return torch.einsum("ax,axk->ak", self.positions, inverse[self.owner])

    @property
    def parameters(self) -> list[int]:
        """Number of free parameters of each walker: of its symmetry, or all coordinates, W."""
        places = (3 * self.sizes).tolist()
        orbits = self.orbits or (None,) * len(places)
        return [n if o is None else o.freedom for n, o in zip(places, orbits, strict=True)]

    @property
    def freedom(self) -> Tensor:
        """Free parameters of each walker as a share of all its coordinates, (W,)."""
        return self.positions.new_tensor(self.parameters) / (3 * self.sizes)

    def centres(self, strain: float) -> Centres | None:
        """Return one atom of each orbit, or None where no walker has an orbit of several atoms.

        Args:
            strain: Largest strain of the cell at which the atoms of an orbit count as equal.
        """
        exact = [o is not None and o.strain <= strain for o in self.orbits]
        if not any(exact):
            return None
        atoms, repeats, sizes, first = [], [], [], 0
        for size, orbits, kept in zip(self.sizes.tolist(), self.orbits, exact, strict=True):
            if orbits is not None and kept:
                own, times = orbits.centres
            else:
                own, times = np.arange(size), np.ones(size, dtype=np.int64)
            atoms.append(own + first)
            repeats.append(times)
            sizes.append(len(own))
            first += size
        device = self.sizes.device
        return Centres(
            torch.as_tensor(np.concatenate(atoms), device=device),
            self.sizes.new_tensor(sizes),
            torch.as_tensor(np.concatenate(repeats), device=device),
        )

    def select(self, index: Tensor) -> Self:
        """Return some walkers, possibly repeated, in the given order."""
        index = index.to(self.sizes.device)
        ends = torch.cumsum(self.sizes, 0)
        sizes = self.sizes[index]
        starts = torch.repeat_interleave((ends - self.sizes)[index], sizes)
        within = torch.arange(len(starts), device=index.device) - torch.repeat_interleave(
            torch.cumsum(sizes, 0) - sizes, sizes
        )
        atoms = starts + within
        return replace(
            self,
            positions=self.positions[atoms],
            numbers=self.numbers[atoms],
            lattice=self.lattice[index],
            sizes=sizes,
            crystal=self.crystal[index],
            closest=self.closest[index],
            orbits=tuple(self.orbits[w] for w in index.tolist()) if self.orbits else (),
        )

    def moved(self, positions: Tensor) -> Self:
        """Return the walkers at other positions."""
        return replace(self, positions=positions)

    @classmethod
    def joined(cls, parts: Sequence[Walkers]) -> Walkers:
        """Concatenate walkers."""
        fields = {k: torch.cat([getattr(p, k) for p in parts]) for k in _FIELDS}
        orbits: tuple[Orbits | None, ...] = ()
        if any(p.orbits for p in parts):
            orbits = tuple(o for p in parts for o in p.orbits or (None,) * len(p))
        return Walkers(**fields, orbits=orbits)

    @classmethod
    def at(
        cls,
        frame: Frame,
        crystal: int,
        frac_coords: Array,
        like: Tensor,
        orbits: Sequence[Orbits | None] = (),
    ) -> Walkers:
        """Return walkers of one crystal.

        Args:
            frame: Lattice and composition of the crystal.
            crystal: Its number.
            frac_coords: Coordinates of each walker, (W, N, 3).
            like: A tensor whose dtype and device they get.
            orbits: Symmetry of each; empty for none.
        """
        count = len(frac_coords)
        lattice = torch.as_tensor(frame.lattice, dtype=like.dtype, device=like.device)
        x = torch.as_tensor(frac_coords, dtype=like.dtype, device=like.device) @ lattice
        numbers = torch.as_tensor(frame.atomic_numbers, device=like.device)
        return Walkers(
            positions=x.view(-1, 3),
            numbers=numbers.repeat(count),
            lattice=lattice.expand(count, 3, 3),
            sizes=torch.full((count,), len(numbers), device=like.device),
            crystal=torch.full((count,), crystal, device=like.device),
            closest=lattice.new_full((count,), frame.min_distance),
            orbits=tuple(orbits),
        )

    def ranked(self, losses: Tensor, keep: int) -> Tensor:
        """Return the walkers with the smallest losses of each crystal, crystal after crystal."""
        order = torch.argsort(losses.nan_to_num(nan=math.inf), stable=True)
        order = order[torch.argsort(self.crystal[order], stable=True)]
        crystal = self.crystal[order]
        place = torch.arange(len(order), device=order.device)
        return order[place - torch.searchsorted(crystal, crystal) < keep]

    def blocks(self, reach: float, strain: float) -> list[Tensor]:
        """Cut the walkers into runs with a bounded number of neighbour pairs.

        Args:
            reach: Radius, Angstrom.
            strain: See :meth:`centres`.
        """
        volume = torch.linalg.det(self.lattice.cpu().double()).abs().clamp(min=1e-3)
        centres = self.centres(strain)
        rows = (self.sizes if centres is None else centres.sizes).cpu().double()
        pairs = 2.1 * reach**3 * rows * self.sizes.cpu().double() / volume
        number = torch.div(torch.cumsum(pairs, 0), _PAIRS_AT_ONCE, rounding_mode="floor")
        sizes = torch.unique_consecutive(number, return_counts=True)[1].tolist()
        return list(torch.arange(len(self), device=self.lattice.device).split(sizes))


_FIELDS = ("positions", "numbers", "lattice", "sizes", "crystal", "closest")


class Variables:
    """What a descent varies: every coordinate, or the free parameters of symmetric walkers.

    Descending in the free parameters alone keeps the symmetry. The gradient of a pooled
    descriptor cannot: a maximum over atoms pulls one atom of an orbit and leaves the others.

    Args:
        walkers: Where the descent starts.
        symmetric: Keep the symmetry of those that have one.

    Attributes:
        values: The variables, all zero or the positions at first; a leaf for an optimiser.
    """

    def __init__(self, walkers: Walkers, symmetric: bool) -> None:
        self._basis: Tensor | None = None
        if symmetric and any(o is not None for o in walkers.orbits):
            self._first, self._owner = walkers.positions, walkers.owner
            self._basis = _basis(walkers)
            start = self._basis.new_zeros(len(walkers), self._basis.shape[2])
        else:
            start = walkers.positions.clone()
        self.values = start.requires_grad_()

    @property
    def positions(self) -> Tensor:
        """Cartesian positions, (A, 3), differentiable in ``values``."""
        if self._basis is None:
            return self.values
        shift = torch.einsum("axk,ak->ax", self._basis, self.values[self._owner])
        return self._first + shift


def _basis(walkers: Walkers) -> Tensor:
    """Displacement of each atom by each variable of its walker, (A, 3, K), filled up with 0."""
    sizes, widths = walkers.sizes.tolist(), walkers.parameters
    out = walkers.positions.new_zeros(len(walkers.positions), 3, max(widths))
    first = 0
    for n, width, orbits in zip(sizes, widths, walkers.orbits, strict=True):
        part = out[first : first + n, :, :width]
        if orbits is None:
            part.copy_(torch.eye(width, dtype=out.dtype, device=out.device).view(n, 3, width))
        else:
            part.copy_(torch.as_tensor(orbits.basis))
        first += n
    return out
