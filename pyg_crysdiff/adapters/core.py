"""What all adapters share: our Transformer, given time and condition as one vector."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pyg_crysdiff.nn.conditioners import CDS
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.nn.transformer import ConditionerFactory, CrystalTransformer


class ConditionedTransformer(nn.Module):
    """:class:`CrystalTransformer` whose time and condition come as one embedding per crystal.

    Args:
        num_species: K, number of species classes.
        condition_dim: Width of the embedding of time (and of properties, where there are any).
        lattice_scale: Length in Angstrom that the network calls 1. Pair features are made of the
            Gram matrix, which is in the hundreds where the pipeline diffuses raw Angstrom.
        conditioner: How the embedding enters the network.
        **network: Other settings of :class:`CrystalTransformer` (``dim``, ``num_blocks`` ...).
    """

    def __init__(
        self,
        num_species: int,
        condition_dim: int,
        lattice_scale: float = 5.0,
        conditioner: ConditionerFactory = CDS,
        **network: Any,
    ) -> None:
        super().__init__()
        if not lattice_scale > 0:
            raise ValueError(f"lattice_scale must be positive, got {lattice_scale}")
        self.lattice_scale = lattice_scale
        self.network = CrystalTransformer(num_species, conditioner=conditioner, **network)
        del self.network.condition_embedding  # its parameters would never see a gradient
        first = self.network.to_lattice[0]
        assert isinstance(first, nn.Linear)
        self.dim = first.in_features
        self.to_condition = nn.Sequential(
            nn.Linear(condition_dim, self.dim), nn.SiLU(), nn.Linear(self.dim, self.dim)
        )

    def features(
        self,
        species: Tensor,
        frac_coords: Tensor,
        lattice: Tensor,
        num_atoms: Tensor,
        embedding: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return atom features (N, dim) and their mean per crystal (B, dim).

        Args:
            species: Class indices (N,) int64, or weights over classes (N, K).
            frac_coords: Fractional coordinates, (N, 3).
            lattice: Row lattices, Angstrom, (B, 3, 3).
            num_atoms: Atoms per crystal, (B,).
            embedding: Time and condition, (B, condition_dim).
        """
        layout = PairLayout.build(num_atoms)
        z_c = self.to_condition(embedding.to(frac_coords.dtype))
        scaled = lattice / self.lattice_scale
        z = self.network.encode(species, frac_coords, scaled, num_atoms, z_c, layout)
        return layout.unsort(z), layout.crystal_mean(z)

    def read(self, z: Tensor, mean: Tensor, lattice: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return lattice (B, 3, 3), coordinate (N, 3) and species (N, K) outputs of features."""
        factor = self.network.to_lattice(mean).view(-1, 3, 3)
        return (
            factor @ (lattice / self.lattice_scale),
            self.network.to_coordinates(z),
            self.network.to_species(z),
        )

    def forward(
        self,
        species: Tensor,
        frac_coords: Tensor,
        lattice: Tensor,
        num_atoms: Tensor,
        embedding: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three outputs; arguments as in :meth:`features`."""
        z, mean = self.features(species, frac_coords, lattice, num_atoms, embedding)
        return self.read(z, mean, lattice)


def heads(dim: int, num_species: int) -> nn.ModuleDict:
    """Return a further set of output layers, for pipelines that want two of each."""
    widths = {"lattice": 9, "coordinates": 3, "species": num_species}
    return nn.ModuleDict(
        {
            name: nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, width))
            for name, width in widths.items()
        }
    )


def contiguous(batch: Tensor) -> None:
    """Check that the atoms of a crystal stand together.

    Raises:
        ValueError: If they do not.
    """
    if len(batch) > 1 and bool((batch[1:] < batch[:-1]).any()):
        raise ValueError("the atoms of a crystal must stand together: sort by the batch vector")
