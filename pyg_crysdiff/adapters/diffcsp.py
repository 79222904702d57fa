"""DiffCSP (arXiv 2309.04475): our network as its decoder, its CSPNet as our denoiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyg_crysdiff.adapters.core import ConditionedTransformer, contiguous
from pyg_crysdiff.nn.conditioning import ConditionEmbedding
from pyg_crysdiff.nn.layout import PairLayout

_MAX_ATOMIC_NUMBER = 100


class DiffCSPDecoder(ConditionedTransformer):
    """The ``decoder`` of DiffCSP's ``CSPDiffusion``, in generation and in CSP mode.

    In the peer's ``conf/model/decoder/cspnet.yaml``, or on its command line::

        _target_: pyg_crysdiff.adapters.DiffCSPDecoder

    Args:
        latent_dim: Width of the time embedding (and latent), given by DiffCSP.
        pred_type: Predict the noise of the one-hot species too (generation).
        smooth: Species come as (N, 100) noisy one-hot floats, not as atomic numbers.
        pred_scalar: Predict one number per crystal instead (the energy model).
        lattice_scale: See :class:`ConditionedTransformer`; DiffCSP diffuses raw Angstrom.
        **network: Settings of :class:`pyg_crysdiff.nn.CrystalTransformer`.
    """

    def __init__(
        self,
        latent_dim: int = 256,
        pred_type: bool = False,
        smooth: bool = False,
        pred_scalar: bool = False,
        lattice_scale: float = 5.0,
        **network: Any,
    ) -> None:
        super().__init__(_MAX_ATOMIC_NUMBER, latent_dim, lattice_scale, **network)
        self.pred_type, self.smooth = pred_type, smooth
        self.scalar_out = nn.Linear(self.dim, 1) if pred_scalar else None

    def forward(  # type: ignore[override]
        self,
        t: Tensor,
        atom_types: Tensor,
        frac_coords: Tensor,
        lattices: Tensor,
        num_atoms: Tensor,
        node2graph: Tensor,
    ) -> Tensor | tuple[Tensor, ...]:
        """Return what DiffCSP's ``CSPNet.forward`` returns.

        Args:
            t: Time embedding, (B, latent_dim).
            atom_types: Noisy one-hot species (N, 100), column Z - 1, or Z (N,).
            frac_coords: Fractional coordinates, (N, 3).
            lattices: Row lattices, Angstrom, (B, 3, 3).
            num_atoms: Atoms per crystal, (B,).
            node2graph: Crystal of each atom, (N,), ascending.

        Returns:
            Lattice noise (B, 3, 3), MINUS the normalised coordinate score (N, 3), and with
            ``pred_type`` the noise of the species (N, 100); or a scalar (B, 1).

        Raises:
            ValueError: If the atoms of a crystal do not stand together.
        """
        contiguous(node2graph)
        species = atom_types if self.smooth else atom_types - 1
        z, mean = self.features(species, frac_coords, lattices, num_atoms, t)
        if self.scalar_out is not None:
            return self.scalar_out(mean)
        lattice, score, types = self.read(z, mean, lattices)
        return (lattice, -score, types) if self.pred_type else (lattice, -score)


class DiffCSPDenoiser(nn.Module):
    """A network with DiffCSP's interface (such as its ``CSPNet``) as the denoiser of our model.

    Conditions enter through the time embedding, so that it samples with guidance as well::

        cspnet = CSPNet(latent_dim=256, pred_type=True, smooth=True, **their_settings)
        model = CrystalDiffusion(DiffCSPDenoiser(cspnet, K), process, statistics)

    Args:
        decoder: The network, made with ``pred_type=True, smooth=True``.
        num_species: K, number of species classes of our process, at most 100.
        latent_dim: Width of the time embedding that the network takes.
        properties: Property name to (mean, standard deviation).
    """

    def __init__(
        self,
        decoder: nn.Module,
        num_species: int,
        latent_dim: int = 256,
        properties: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= num_species <= _MAX_ATOMIC_NUMBER:
            raise ValueError(f"DiffCSP's networks know 100 species, not {num_species}")
        self.decoder, self.num_species = decoder, num_species
        self.condition_embedding = ConditionEmbedding(latent_dim, properties)

    def forward(
        self,
        species: Tensor,
        frac_coords: Tensor,
        lattice: Tensor,
        num_atoms: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor] | None = None,
        layout: PairLayout | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Denoise as :meth:`pyg_crysdiff.nn.CrystalTransformer.forward` does."""
        del layout
        weights = species
        if not species.is_floating_point():
            weights = nn.functional.one_hot(species, self.num_species).to(frac_coords.dtype)
        padded = nn.functional.pad(weights, (0, _MAX_ATOMIC_NUMBER - self.num_species))
        index = torch.arange(len(num_atoms), device=num_atoms.device)
        batch = torch.repeat_interleave(index, num_atoms)
        embedding = self.condition_embedding(t, condition)
        eps, minus_score, types = self.decoder(
            embedding, padded, frac_coords, lattice, num_atoms, batch
        )
        return eps, -minus_score, types[:, : self.num_species]
