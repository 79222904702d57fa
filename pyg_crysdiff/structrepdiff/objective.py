"""What the reconstruction minimises: how far descriptors of trial structures are from targets."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyg_crysdiff.structrepdiff.density import neighbour_density
from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.neighbours import NeighbourPairs, neighbour_pairs
from pyg_crysdiff.structrepdiff.search import DistanceTerm
from pyg_crysdiff.structrepdiff.walkers import Centres, Walkers

_SKIN = 1.0
_CLOSEST = 0.95  # of the wanted smallest distance; nearer atoms overlap
_BLURRED = 0.03  # of a Gaussian's width, by which the atoms of an orbit may see a shell differently


def pool(per_atom: Tensor, sizes: Tensor) -> Tensor:
    """Return the largest and the smallest value over the atoms of each crystal, (B, 2 D)."""
    from torch_geometric.utils import segment  # noqa: PLC0415  (takes seconds to import)

    ptr = torch.cat([sizes.new_zeros(1), torch.cumsum(sizes, 0)])
    return torch.cat([segment(per_atom, ptr, "max"), segment(per_atom, ptr, "min")], 1)


def amplitude(ead: Tensor) -> Tensor:
    """Return the square root of EAD values, with a finite slope at 0."""
    return (ead + 1e-6).sqrt()


class Objective:
    r"""L1 distance of the pooled EAD to its target (arXiv 2408.07213, section 4.3), relative.

    .. math:: \frac{\sum_k |E_k - E^*_k|}{\sum_k |E^*_k|}

    plus the overlap of atoms that are closer than the wanted smallest distance d, averaged over
    atoms: :math:`\frac{2}{N} \sum_{pairs} \max(0, 1 - r / d)`. The paper's vector has that distance
    as an entry; without it atoms fall onto each other where no structure fits the target exactly.
    The sum runs over the entries that distances up to ``reach`` decide: with a small reach it costs
    a fraction of the full descriptor's, since neighbours grow with its third power. The atoms of an
    orbit have the same surroundings, so those of one atom are computed for all.

    ``root`` compares square roots, which widens the basins of attraction by about a half: the
    squares of a few heavy atoms no longer outweigh everything else.

    Each E_k is a maximum or a minimum over atoms, so it pulls a single atom. But the wanted
    extremes bound all atoms. With a weight w (``bounds`` of :meth:`loss`), every entry
    :math:`e_{ik}` of an atom i that lies outside of them is pulled back:

    .. math:: w \frac{\sum_{i,k} \bigl[\max(0, e_{ik} - \max^*_k)
        + \max(0, \min^*_k - e_{ik})\bigr]}{\sum_k |E^*_k|}

    It is 0 for the true structure, and widens its basin of attraction.

    Args:
        ead: Descriptor.
        reach: Radius, Angstrom; the descriptor's own cutoff or more for all of it.
        largest_eta: Narrowest Gaussians that count; None for all. Wide ones alone make a
            landscape that leads to the right basin from much further away.
        root: Compare square roots.
        distance: ``overlap`` for the penalty above; ``entry`` for the smallest distance as one more
            entry k of the sums, as in the paper, and no penalty.
    """

    def __init__(
        self,
        ead: EmbeddedAtomDensity,
        reach: float,
        largest_eta: float | None = None,
        root: bool = True,
        distance: DistanceTerm = "overlap",
    ) -> None:
        self.distance = distance
        self.reach, self.root = min(reach, ead.cutoff), root
        self.ead, columns = ead.within(reach, largest_eta)
        self.columns = torch.cat([columns, columns + ead.dim])
        self._strain = _BLURRED / (self.reach * math.sqrt(2 * max(self.ead.sums.eta, default=1.0)))
        self._pairs: NeighbourPairs | None = None
        self._near: tuple[NeighbourPairs, Tensor] | None = None
        self._centres: Centres | None = None

    def target(self, pooled: Tensor) -> Tensor:
        """Select the entries of full pooled descriptors, (C, 2 dim) -> (C, 2 kept)."""
        kept = pooled[:, self.columns.to(pooled.device)]
        return amplitude(kept.clamp(min=0)) if self.root else kept

    def blocks(self, walkers: Walkers) -> list[Tensor]:
        """Cut walkers into runs that fit the cache."""
        return walkers.blocks(self.reach, self._strain)

    def start(self, walkers: Walkers) -> None:
        """Take up new walkers; must be called before :meth:`loss` with other cells or sizes.

        Those that have orbits must keep them until the next call.
        """
        self._centres = walkers.centres(self._strain)
        self._list(walkers)

    def loss(self, walkers: Walkers, target: Tensor, bounds: float = 0.0) -> Tensor:
        """Return the loss of each walker, (W,), differentiable in the positions.

        Args:
            walkers: The walkers that :meth:`start` took up, wherever they have moved.
            target: Targets of all crystals, from :meth:`target`.
            bounds: Weight w of the entries of atoms that lie outside of the wanted extremes.
        """
        moved = (walkers.positions.detach() - self._origin).square().sum(1)
        if self._pairs is None or bool(moved.max() > (_SKIN / 2) ** 2):
            self._list(walkers)
        pairs = self._pairs
        assert pairs is not None
        positions = walkers.positions
        numbers = walkers.numbers.to(positions.dtype)
        density = neighbour_density(self.ead, positions, numbers, pairs, self._translation)
        values = self.ead.from_density(density)
        centres = self._centres
        sizes = walkers.sizes if centres is None else centres.sizes
        values = amplitude(values) if self.root else values
        pooled, wanted = pool(values, sizes), target[walkers.crystal]
        misfit, size = (pooled - wanted).abs().sum(1), wanted.abs().sum(1)
        if bounds:
            misfit = misfit + bounds * self._outside(values, wanted, sizes)
        if self.distance == "entry":
            misfit = misfit + (self._smallest(walkers) - walkers.closest).abs()
            return misfit / (size + walkers.closest)
        return misfit / size.clamp(min=1e-12) + self._overlap(walkers)

    def _outside(self, values: Tensor, wanted: Tensor, sizes: Tensor) -> Tensor:
        owner = torch.repeat_interleave(sizes)
        largest, smallest = wanted[owner].chunk(2, 1)
        beyond = ((values - largest).clamp(min=0) + (smallest - values).clamp(min=0)).sum(1)
        if self._centres is not None:
            beyond = self._centres.repeats * beyond
        return beyond.new_zeros(len(sizes)).index_add(0, owner, beyond)

    def _smallest(self, walkers: Walkers) -> Tensor:
        # Within the reach there is always a pair, unless all distances are larger.
        furthest = torch.full_like(walkers.closest, self.reach)
        near, distance = self._near_distances(walkers)
        return furthest.scatter_reduce(0, near.crystal, distance, "amin")

    def _overlap(self, walkers: Walkers) -> Tensor:
        near, distance = self._near_distances(walkers)
        owner = near.crystal
        limit = _CLOSEST * walkers.closest
        overlap = (1 - distance / limit[owner]).clamp(min=0) / walkers.sizes[owner]
        if self._centres is None or near.place is None:
            overlap = 2 * overlap
        else:
            overlap = self._centres.repeats[near.place] * overlap
        return torch.zeros_like(limit).index_add(0, owner, overlap)

    def _near_distances(self, walkers: Walkers) -> tuple[NeighbourPairs, Tensor]:
        assert self._near is not None
        near, translation = self._near
        vectors = near.vectors(walkers.positions.t(), translation)
        return near, (vectors.square().sum(0) + 1e-12).sqrt()

    @torch.no_grad()
    def _list(self, walkers: Walkers) -> None:
        # Neighbours within a skin stay valid until an atom has moved by half of it.
        frac = walkers.frac_coords
        centres = None if self._centres is None else self._centres.atoms
        self._pairs = neighbour_pairs(
            frac, walkers.lattice, walkers.sizes, self.reach + _SKIN, centres=centres
        )
        self._translation = self._pairs.translation(walkers.lattice)
        self._origin = walkers.positions.detach().clone()
        self._near = self._nearest(walkers, self._pairs)

    def _nearest(self, walkers: Walkers, pairs: NeighbourPairs) -> tuple[NeighbourPairs, Tensor]:
        """Return the pairs that may overlap, or be the closest, while the list is valid."""
        vectors = pairs.vectors(self._origin.t(), self._translation)
        distance = vectors.square().sum(0).sqrt()
        limit = _CLOSEST * walkers.closest + _SKIN
        if self.distance == "entry":
            limit = distance.new_full(limit.shape, self.reach)
            limit = limit.scatter_reduce(0, pairs.crystal, distance, "amin") + 2 * _SKIN
        near = torch.nonzero(distance < limit[pairs.crystal]).flatten()
        return pairs.select(near), self._translation[:, near]
