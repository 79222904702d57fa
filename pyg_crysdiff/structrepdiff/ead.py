"""The descriptor of the surroundings of an atom: embedded atom density (EAD)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pyg_crysdiff.structrepdiff.neighbours import NeighbourPairs, neighbour_pairs
from pyg_crysdiff.structrepdiff.radial import GaussianSums

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

_PAIRS_AT_ONCE = 300_000
_CENTRES = tuple(0.1 * k for k in range(200))


class EmbeddedAtomDensity(nn.Module):
    r"""EAD of Zhang, Hu & Jiang (J. Phys. Chem. Lett. 10, 4962, 2019), arXiv 2408.07213 eqs 2, 3.

    .. math:: \rho_i^{L \eta R_s} = \sum_{l_x + l_y + l_z = L} \frac{L!}{l_x! l_y! l_z!}
        \Bigl[ \sum_{j, n} Z_j\, \frac{x^{l_x} y^{l_y} z^{l_z}}{r_c^L}
        e^{-\eta (r - R_s)^2} f_c(r) \Bigr]^2, \qquad
        f_c(r) = \tfrac12 \bigl(\cos \tfrac{\pi r}{r_c} + 1\bigr)

    over all periodic images n of all atoms j within r_c. Invariant under rotation, reflection,
    translation and choice of cell, equivariant under permutation; differentiable with respect to
    coordinates and lattice, in float32 and float64. Memory is bounded: pairs pass in blocks, and
    backward repeats a block instead of keeping it.

    Args:
        L: Angular momenta.
        eta: Exponents, 1/Angstrom^2.
        centres: R_s, Angstrom.
        cutoff: r_c, Angstrom.
    """

    exponents: Tensor
    factors: Tensor
    degree: Tensor

    def __init__(
        self,
        L: Sequence[int] = (0,),
        eta: Sequence[float] = (1.0, 20.0, 90.0),
        centres: Sequence[float] = _CENTRES,
        cutoff: float = 20.0,
    ) -> None:
        super().__init__()
        if 0 in (len(L), len(eta), len(centres)) or min(L) < 0 or min(eta) <= 0 or cutoff <= 0:
            raise ValueError(
                f"EAD needs angular momenta >= 0, positive exponents, centres and a positive "
                f"cutoff, got L={tuple(L)}, eta={tuple(eta)}, {len(centres)} centres, r_c={cutoff}"
            )
        self.L, self.cutoff = tuple(L), float(cutoff)
        self.sums = GaussianSums(eta, centres, cutoff)
        terms = [t for degree in L for t in _monomials(degree)]
        self.register_buffer("exponents", torch.tensor([t[0] for t in terms]), persistent=False)
        self.register_buffer("factors", torch.tensor([t[1] for t in terms]), persistent=False)
        self.register_buffer("degree", self.exponents.sum(1), persistent=False)
        self.dim = len(L) * len(eta) * len(centres)

    def forward(
        self, frac_coords: Tensor, lattice: Tensor, atomic_numbers: Tensor, num_atoms: Tensor
    ) -> Tensor:
        """Return the EAD of every atom, (N, len(L) * len(eta) * len(centres)), in that order.

        Args:
            frac_coords: Fractional coordinates, (N, 3).
            lattice: Row lattices, Angstrom, (B, 3, 3).
            atomic_numbers: Z, (N,).
            num_atoms: Atoms per crystal, (B,).

        Raises:
            ValueError: If a cell has no volume.
        """
        out = []
        for atoms, crystals in _parts(lattice, num_atoms, self.cutoff):
            cell, sizes = lattice[crystals], num_atoms[crystals]
            f, z = frac_coords[atoms], atomic_numbers[atoms]
            pairs = neighbour_pairs(f.detach(), cell.detach(), sizes, self.cutoff)
            keep = f.requires_grad or cell.requires_grad
            density = f.new_zeros(len(z), len(self.factors), self.sums.num_nodes)
            for block in torch.arange(len(pairs.i), device=f.device).split(_PAIRS_AT_ONCE):
                arguments = (f, cell, z, sizes, pairs.select(block))
                density = density + (
                    checkpoint(self._density, *arguments, use_reentrant=False)
                    if keep
                    else self._density(*arguments)
                )
            out.append(self.from_density(density))
        return torch.cat(out)

    def within(self, reach: float, largest_eta: float | None = None) -> tuple[Self, Tensor]:
        """Restrict to the entries that neighbours up to ``reach`` decide.

        Returns:
            A module of these entries, and their numbers among all.
        """
        out = copy(self)
        out._modules = dict(self._modules)
        out.sums, columns = self.sums.within(reach, largest_eta)
        block = self.dim // len(self.L)
        out.dim = len(self.L) * len(columns)
        return out, torch.cat([columns + k * block for k in range(len(self.L))])

    def forward_batch(self, batch: Batch | Data) -> Tensor:
        """Return the EAD of a PyG batch with the fields of this package's datasets."""
        lattice = batch.lattice.view(-1, 3, 3)
        return self(batch.frac_coords, lattice, batch.atomic_numbers, batch.num_atoms.view(-1))

    def density(self, vectors: Tensor, pairs: NeighbourPairs, z: Tensor) -> Tensor:
        """Return the density of neighbours on the radial grid, (N, monomials, nodes).

        Args:
            vectors: Vectors from i to the image of j, Angstrom, (3, P).
            pairs: Half list of pairs, or a full list of some centres' neighbours; then only the
                centres have a row.
            z: Atomic numbers in the dtype of the vectors, (N,).
        """
        # The tiny number keeps the gradient of the root finite where atoms coincide.
        distance = (vectors.square().sum(0) + 1e-12).sqrt()
        weight = 0.5 * (torch.cos(math.pi / self.cutoff * distance) + 1).unsqueeze(0)
        if self.L != (0,):
            scaled = (vectors / self.cutoff).unsqueeze(0)
            weight = weight * (scaled ** self.exponents.unsqueeze(2)).prod(1)
        to_i = weight * z[pairs.j]
        if pairs.centres is not None and pairs.place is not None:
            return self.sums.density(distance, (pairs.place,), (to_i,), len(pairs.centres))
        parity = (1 - 2 * (self.degree % 2)).unsqueeze(1)
        to_j = weight * parity * z[pairs.i]
        return self.sums.density(distance, (pairs.i, pairs.j), (to_i, to_j), len(z))

    def from_density(self, density: Tensor) -> Tensor:
        """Return the EAD from the density of neighbours, (N, monomials, nodes) -> (N, dim)."""
        squares = self.sums(density).square() * self.factors.to(density.dtype).view(1, -1, 1)
        parts = [squares[:, self.degree == degree].sum(1) for degree in self.L]
        return torch.cat(parts, 1)

    def _density(
        self, f: Tensor, lattice: Tensor, z: Tensor, sizes: Tensor, pairs: NeighbourPairs
    ) -> Tensor:
        crystal = torch.repeat_interleave(torch.arange(len(sizes), device=f.device), sizes)
        positions = torch.einsum("nk,nkx->xn", f, lattice[crystal])
        vectors = pairs.vectors(positions, pairs.translation(lattice))
        return self.density(vectors, pairs, z.to(f.dtype))


def _monomials(degree: int) -> list[tuple[tuple[int, int, int], float]]:
    """Exponents (lx, ly, lz) of one degree, with their multinomial coefficients."""
    out = []
    for x in range(degree + 1):
        for y in range(degree - x + 1):
            z = degree - x - y
            factor = math.factorial(degree) / math.prod(math.factorial(k) for k in (x, y, z))
            out.append(((x, y, z), factor))
    return out


def _parts(lattice: Tensor, num_atoms: Tensor, cutoff: float) -> Iterator[tuple[slice, slice]]:
    """Cut a batch into runs of crystals with a bounded number of pairs; slices of both."""
    sizes = num_atoms.tolist()
    volume = torch.linalg.det(lattice.detach().cpu().double()).abs().clamp(min=1e-3).tolist()
    first = start = atoms = 0
    pairs = 0.0
    for index, (n, v) in enumerate(zip(sizes, volume, strict=True)):
        own = n * n / v * 4.2 * cutoff**3 / 2
        if index > first and pairs + own > _PAIRS_AT_ONCE:
            yield slice(start, atoms), slice(first, index)
            first, start, pairs = index, atoms, 0.0
        atoms += n
        pairs += own
    if sizes:
        yield slice(start, atoms), slice(first, len(sizes))
