"""The network itself: a Transformer over the atoms of a crystal that predicts their noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pyg_crysdiff.nn.attention import AttentionBlock, AttentionTerms, AttentionWeights
from pyg_crysdiff.nn.conditioners import CDI
from pyg_crysdiff.nn.conditioning import ConditionEmbedding, Conditioner
from pyg_crysdiff.nn.denoiser import Contexts
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.pairs import pair_features

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

ConditionerFactory = Callable[..., Conditioner]


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


@dataclass(frozen=True)
class Context:
    """Everything computed from time and condition alone.

    It does not depend on the atoms, so a sampler computes it once and reuses it. Where time and
    condition are the same for all crystals, one row stands for all of them.

    Attributes:
        z_c: Condition vector, (B, dim) or (1, dim).
        attention: Weights of the attention of each block, with what the conditioner adds.
    """

    z_c: Tensor
    attention: tuple[AttentionTerms, ...]


class CrystalTransformer(nn.Module):
    r"""Denoising Transformer of arXiv 2406.09263, section 4.2.

    Symmetries, all exact: permutation of atoms; a common translation of all fractional
    coordinates; integer shifts of any of them; rotation and reflection of the lattice, under
    which the outputs for coordinates and species do not change and the lattice output turns
    with the lattice (:math:`\hat\epsilon_L = \varphi(\bar z) L` for row lattices).

    Args:
        num_species: K, number of species classes.
        properties: Property name to (mean, standard deviation); none for the base model.
        conditioner: Factory of the conditioner (class or partial), called with the sizes of
            the network (:class:`pyg_crysdiff.nn.conditioning.Conditioner`). Without properties
            only the time passes through it.
        dim: Width d of the atom features.
        num_blocks: Number D of blocks.
        num_heads: Number of heads.
        head_dim: Width of a head; ``dim`` where None.
        num_waves: M of the Fourier features (eq. 14).
        pair_hidden: Hidden width of the pair MLPs (eqs 12 and 13).
        mlp_ratio: Hidden width of the block MLPs in units of ``dim``.
        size_feature: Feed log N to the pair MLPs beside the Gram matrix. Attention averages
            over atoms and cannot count them; the cell volume depends on their number.
        centred: Subtract each crystal's mean from its coordinate score. The score of a density
            that no common translation changes sums to zero, so that nothing is lost; and the
            training is not told to learn the mean of the noise, which the network cannot see.
    """

    def __init__(
        self,
        num_species: int,
        properties: Mapping[str, tuple[float, float]] | None = None,
        conditioner: ConditionerFactory = CDI,
        dim: int = 128,
        num_blocks: int = 6,
        num_heads: int = 3,
        head_dim: int | None = None,
        num_waves: int = 10,
        pair_hidden: int = 64,
        mlp_ratio: int = 4,
        size_feature: bool = True,
        centred: bool = False,
    ) -> None:
        super().__init__()
        head_dim = dim if head_dim is None else head_dim
        self.num_species, self.num_waves, self.size_feature = num_species, num_waves, size_feature
        self.centred = centred
        self.species_embedding = _mlp(num_species, dim, dim)
        self.condition_embedding = ConditionEmbedding(dim, properties)
        self.conditioner = conditioner(
            dim=dim,
            condition_dim=dim,
            num_blocks=num_blocks,
            num_heads=num_heads,
            head_dim=head_dim,
        )
        self.blocks = nn.ModuleList(
            AttentionBlock(
                dim,
                mlp_ratio,
                num_heads=num_heads,
                head_dim=head_dim,
                num_waves=num_waves,
                crystal_inputs=9 + size_feature,
                pair_hidden=pair_hidden,
            )
            for _ in range(num_blocks)
        )
        self.to_lattice = _mlp(dim, dim, 9)
        self.to_coordinates = _mlp(dim, dim, 3)
        self.to_species = _mlp(dim, dim, num_species)

    def forward(
        self,
        species: Tensor,
        frac_coords: Tensor,
        lattice: Tensor,
        num_atoms: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor] | None = None,
        layout: PairLayout | None = None,
        context: Context | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Denoise a batch given as tensors; atoms of a crystal are contiguous.

        Args:
            species: Class indices (N,) int64, or weights over classes (N, K).
            frac_coords: Fractional coordinates, (N, 3).
            lattice: Row lattices in the units of the process, (B, 3, 3).
            num_atoms: Atoms per crystal, (B,).
            t: Integer times, (B,).
            condition: Property name to raw values (B,); NaN means not given.
            layout: Pair layout of ``num_atoms`` where the caller keeps one.
            context: :meth:`context` of ``t`` and ``condition`` where the caller keeps it.

        Returns:
            Predicted lattice noise (B, 3, 3), normalised coordinate score (N, 3) and logits
            of the clean species (N, K).
        """
        layout = PairLayout.build(num_atoms) if layout is None else layout
        context = self.context(t, condition) if context is None else context
        z = self.encode(species, frac_coords, lattice, num_atoms, context, layout)
        factor = self.to_lattice(layout.crystal_mean(z)).view(-1, 3, 3)
        score = self.to_coordinates(z)
        if self.centred:
            score = score - layout.crystal_mean(score)[layout.crystal]
        return factor @ lattice, layout.unsort(score), self.to_species(layout.unsort(z))

    def context(self, t: Tensor, condition: Mapping[str, Tensor] | None = None) -> Context:
        """Return what :meth:`forward` makes of t and condition alone."""
        return self.contexts()(t, condition)

    def contexts(self) -> Contexts:
        """Return :meth:`context` for weights that stay as they are, whose products it keeps."""
        weights = self._weights()
        return lambda t, condition: self._context(self.condition_embedding(t, condition), weights)

    def _weights(self) -> list[AttentionWeights]:
        return [block.attention.weights() for block in self._blocks()]

    def _context(self, z_c: Tensor, weights: list[AttentionWeights]) -> Context:
        terms = []
        for k, block in enumerate(self._blocks()):
            extra = self.conditioner.attention(k, z_c)
            terms.append(block.attention.terms(extra, weights[k]))
        return Context(z_c, tuple(terms))

    def _blocks(self) -> Iterator[AttentionBlock]:
        for block in self.blocks:
            assert isinstance(block, AttentionBlock)
            yield block

    def encode(
        self,
        species: Tensor,
        frac_coords: Tensor,
        lattice: Tensor,
        num_atoms: Tensor,
        context: Context | Tensor,
        layout: PairLayout,
    ) -> Tensor:
        """Return the atom features after the last block, (N, dim), in the order of the layout.

        For pipelines that embed time and condition themselves: a vector z_c (B, dim) for
        ``context`` takes the place of both. The other arguments are those of :meth:`forward`.
        """
        if isinstance(context, Tensor):
            context = self._context(context, self._weights())
        z_c, row = context.z_c, layout.crystal
        if len(z_c) < len(lattice):
            row = torch.zeros_like(row)
        z = self.conditioner.initial(self._embed(layout.sort(species)), z_c, row)
        features = self._crystal_features(lattice, num_atoms)
        pairs = pair_features(layout.sort(frac_coords), features, layout, self.num_waves)
        for index, block in enumerate(self.blocks):
            z = self.conditioner.block_input(index, z, z_c, row)
            z = block(z, pairs, layout, context.attention[index])
        return z

    def forward_batch(
        self, batch: Batch | Data, t: Tensor, condition: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Denoise a PyG batch; goes with the next release, in favour of :meth:`forward`."""
        warnings.warn(
            "CrystalTransformer.forward_batch goes with the next release; call the network with "
            "batch.species, batch.frac_coords, batch.lattice and batch.num_atoms",
            DeprecationWarning,
            stacklevel=2,
        )
        return self(batch.species, batch.frac_coords, batch.lattice, batch.num_atoms, t, condition)

    def _embed(self, species: Tensor) -> Tensor:
        if species.is_floating_point():
            return self.species_embedding(species)
        first, rest = self.species_embedding[0], self.species_embedding[1:]
        assert isinstance(first, nn.Linear)
        # A one-hot vector times a matrix is a column of it.
        return rest(nn.functional.embedding(species, first.weight.t()) + first.bias)

    def _crystal_features(self, lattice: Tensor, num_atoms: Tensor) -> Tensor:
        parts = [torch.einsum("bik,bjk->bij", lattice, lattice).flatten(1)]
        if self.size_feature:
            parts.append(num_atoms.to(lattice.dtype).log().unsqueeze(1))
        return torch.cat(parts, dim=1)
