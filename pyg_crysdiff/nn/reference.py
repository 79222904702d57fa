r"""Equations 9 to 14 and 16 to 19 of arXiv 2406.09263 as they are written, for readers and tests.

Everything here is computed for one crystal, for every ordered pair of its atoms, and with nothing
saved. :class:`pyg_crysdiff.nn.CrystalTransformer` computes the same numbers with far fewer
operations; the tests compare the two. The functions take the layers of such a network, whose names
are the symbols of the paper: n atoms, H heads of width d, M waves. Lattices are rows, so that the
paper's L^T L is L L^T here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pyg_crysdiff.nn.attention import AttentionBlock, RelativeAttention
from pyg_crysdiff.nn.conditioners import CDI, CDS
from pyg_crysdiff.nn.pairs import PairTerms
from pyg_crysdiff.nn.transformer import CrystalTransformer


def fourier_features(f: Tensor, waves: int) -> Tensor:
    """Eq. 14: sines, then cosines, of 2 pi m f for m = 1..M and every axis, (..., 6 M)."""
    angle = 2 * math.pi * torch.arange(1, waves + 1, dtype=f.dtype)[:, None] * f.unsqueeze(-2)
    return torch.cat([angle.sin().flatten(-2), angle.cos().flatten(-2)], dim=-1)


def pair_terms(mlps: PairTerms, f: Tensor, crystal: Tensor) -> tuple[Tensor, Tensor]:
    """Eqs 12 and 13: alpha (n, n, H) and beta (n, n, H, d) of all pairs [i, j].

    Args:
        mlps: The MLPs of all heads.
        f: Fractional coordinates, (n, 3).
        crystal: Gram matrix and what goes with it, (C,).
    """
    n = len(f)
    psi = fourier_features(f[None, :] - f[:, None], mlps.num_waves)
    inputs = torch.cat([psi, crystal.expand(n, n, -1)], dim=-1)
    for_alpha, for_beta = F.silu(mlps.first(inputs)).view(n, n, 2, mlps.num_heads, -1).unbind(2)
    alpha = torch.einsum("ijhc,hc->ijh", for_alpha, mlps.alpha_weight)
    beta = torch.einsum("ijhc,hcd->ijhd", for_beta, mlps.beta_weight) + mlps.beta_bias
    return alpha, beta


def attention(
    layer: RelativeAttention, z: Tensor, f: Tensor, crystal: Tensor, extra: Tensor | float = 0.0
) -> Tensor:
    """Eq. 11, with z_c (W^Qc, W^Kc, W^Vc) of eqs 17 to 19 as ``extra``, (3 H d,).

    Args:
        layer: Weights of the attention.
        z: Atom features, (n, dim).
        f: As in :func:`pair_terms`.
        crystal: As in :func:`pair_terms`.
        extra: Terms added to queries, keys and values of all atoms.
    """
    alpha, beta = pair_terms(layer.pairs, f, crystal)
    q, k, v = (layer.qkv(z) + extra).view(len(z), 3, layer.num_heads, -1).unbind(1)
    weights = torch.softmax(torch.einsum("ihd,jhd->ijh", q, k) / math.sqrt(q.size(-1)) + alpha, 1)
    return layer.out(torch.einsum("ijh,ijhd->ihd", weights, v + beta).flatten(1))


def block(
    layer: AttentionBlock, z: Tensor, f: Tensor, crystal: Tensor, extra: Tensor | float = 0.0
) -> Tensor:
    """Eqs 9 and 10: one block of the Transformer; arguments as in :func:`attention`."""
    z = layer.attention_norm(attention(layer.attention, z, f, crystal, extra) + z)
    return layer.mlp_norm(layer.mlp(z) + z)


def initial(cdi: CDI, z_a: Tensor, z_c: Tensor) -> Tensor:
    """Eq. 16: an MLP of species embeddings (n, dim) and the condition (dim,), put side by side."""
    weight = torch.cat([cdi.from_species.weight, cdi.from_condition.weight], dim=1)
    together = torch.cat([z_a, z_c.expand(len(z_a), -1)], dim=1)
    return cdi.out(F.silu(F.linear(together, weight, cdi.from_species.bias)))


def denoise(
    net: CrystalTransformer, species: Tensor, f: Tensor, lattice: Tensor, z_c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a network with CDI or CDS predicts for one crystal.

    Args:
        net: The network.
        species: Class indices, (n,).
        f: Fractional coordinates, (n, 3).
        lattice: Row lattice, (3, 3).
        z_c: Condition vector, (dim,), eq. 15.

    Returns:
        Lattice noise (3, 3), normalised coordinate score (n, 3), logits of the species (n, K).

    Raises:
        TypeError: If the conditioner is not one of the paper's.
    """
    if type(net.conditioner) not in (CDI, CDS):
        raise TypeError(f"the paper has CDI and CDS, not {type(net.conditioner).__name__}")
    z = net.species_embedding(F.one_hot(species, net.num_species).to(f.dtype))
    if isinstance(net.conditioner, CDI):
        z = initial(net.conditioner, z, z_c)
    crystal = (lattice @ lattice.T).flatten()
    if net.size_feature:
        crystal = torch.cat([crystal, crystal.new_tensor([math.log(len(f))])])
    for number, layer in enumerate(net.blocks):
        assert isinstance(layer, AttentionBlock)
        extra: Tensor | float = 0.0
        if isinstance(net.conditioner, CDS):
            extra = net.conditioner.projection[number](z_c)
        z = block(layer, z, f, crystal, extra)
    score = net.to_coordinates(z)
    if net.centred:
        score = score - score.mean(0)
    return net.to_lattice(z.mean(0)).view(3, 3) @ lattice, score, net.to_species(z)
