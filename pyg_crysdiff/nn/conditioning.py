"""How time and wanted properties become a vector, and where that vector can enter the network.

A conditioner is a module with three hooks. The network calls them by name, whatever the class.
To add one, subclass :class:`Conditioner`, override the hooks you need, and write a YAML with
its ``_target_`` into ``configs/conditioner/`` (or name it on the command line).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pyg_crysdiff.data.properties import property_of
from pyg_crysdiff.platform import sent

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data


class SinusoidalTime(nn.Module):
    """Sinusoidal encoding of integer times (Vaswani et al. 2017), (B,) -> (B, dim).

    Args:
        dim: Even width.
        max_period: Longest wavelength.
    """

    frequencies: Tensor

    def __init__(self, dim: int, max_period: float = 10_000.0) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"the width of the time encoding must be even, got {dim}")
        exponent = torch.arange(dim // 2, dtype=torch.float32) / (dim // 2)
        self.register_buffer("frequencies", max_period**-exponent, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Encode times of shape (B,)."""
        angle = t.to(self.frequencies.dtype).unsqueeze(1) * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class ConditionEmbedding(nn.Module):
    r"""The condition vector :math:`z_c = \mathrm{MLP}(z_t \oplus z_{prop})` (eq. 15).

    Each property has a linear map of its own; their sum is z_prop. A property that is absent
    or NaN for a crystal contributes a learned null vector instead, which is what the network
    sees when the condition is dropped in training and in the unconditional half of
    classifier-free guidance.

    Args:
        dim: Width of z_t, z_prop and z_c.
        properties: Property name to (mean, standard deviation) used to scale its values.
    """

    def __init__(self, dim: int, properties: Mapping[str, Sequence[float]] | None = None) -> None:
        super().__init__()
        scaling = {name: (float(m), float(s)) for name, (m, s) in (properties or {}).items()}
        for name, (_, std) in scaling.items():
            if not (math.isfinite(std) and std > 0):
                raise ValueError(f"property {name!r} needs a positive standard deviation")
        self.properties = tuple(scaling)
        self.scaling = scaling
        self.time = SinusoidalTime(dim)
        self.value = nn.ModuleList(nn.Linear(1, dim) for _ in scaling)
        self.null = nn.ParameterList(nn.Parameter(torch.randn(dim) * 0.02) for _ in scaling)
        self.mlp = nn.Sequential(
            nn.Linear((2 if scaling else 1) * dim, dim), nn.SiLU(), nn.Linear(dim, dim)
        )

    def read(
        self, batch: Batch | Data, count: int, dropout: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Read the properties of a training batch, name to (B,), NaN where they are hidden.

        A crystal without a value of a property is one whose property is hidden.

        Args:
            batch: PyG batch with every property (:func:`pyg_crysdiff.data.property_of`); crystals
                whose ``always_given`` is true keep theirs, where the batch has that.
            count: Number of crystals, B.
            dropout: Probability of hiding all properties of a crystal.
            generator: CPU generator.

        Raises:
            KeyError: If the batch lacks a property.
        """
        hidden = torch.rand(count, generator=generator) < dropout
        given = batch.always_given.view(-1) if "always_given" in batch else None
        condition = {}
        for name in self.properties:
            value = property_of(batch, name)
            hide = sent(hidden, value.device)
            hide = hide if given is None else hide & ~given
            condition[name] = torch.where(hide, torch.nan, value)
        return condition

    def forward(self, t: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return z_c, (B, dim).

        Args:
            t: Integer times, (B,).
            condition: Property name to raw values (B,); NaN or a missing name means not given.

        Raises:
            KeyError: If the condition names a property that the model does not know.
        """
        condition = condition or {}
        if unknown := set(condition) - set(self.properties):
            raise KeyError(
                f"unknown properties {sorted(unknown)}; this model knows {list(self.properties)}"
            )
        z = self.time(t)
        if self.properties:
            z_prop = torch.zeros_like(z)
            for name, linear, null in zip(self.properties, self.value, self.null, strict=True):
                if name not in condition:
                    z_prop = z_prop + null
                    continue
                mean, std = self.scaling[name]
                value = (condition[name].view(-1, 1) - mean) / std
                given = torch.isfinite(value)
                embedded = linear(torch.where(given, value, 0.0).to(z.dtype))
                z_prop = z_prop + torch.where(given, embedded, null)
            z = torch.cat([z, z_prop], dim=1)
        return self.mlp(z)


class Conditioner(nn.Module):
    """Base class of conditioners: every hook leaves the network as it is.

    Subclasses take at least ``dim``, ``condition_dim``, ``num_blocks``, ``num_heads`` and
    ``head_dim`` as keyword arguments, which the denoiser supplies; anything else comes from
    their YAML.

    In all hooks, atoms are in the denoiser's own order, ``z_c`` has one row per crystal
    (B, condition_dim), and ``crystal`` (N,) tells the crystal of each atom.
    """

    def __init__(
        self, *, dim: int, condition_dim: int, num_blocks: int, num_heads: int, head_dim: int
    ) -> None:
        super().__init__()
        self.dim, self.condition_dim, self.num_blocks = dim, condition_dim, num_blocks
        self.num_heads, self.head_dim = num_heads, head_dim

    def initial(self, z: Tensor, z_c: Tensor, crystal: Tensor) -> Tensor:
        """Return the input embedding z^0 from species embeddings z, (N, dim) -> (N, dim)."""
        del z_c, crystal
        return z

    def attention(self, block: int, z_c: Tensor) -> Tensor | None:
        """Return terms added to q, k and v of a block, (B, 3 * num_heads * head_dim), or None."""
        del block, z_c
        return None

    def block_input(self, block: int, z: Tensor, z_c: Tensor, crystal: Tensor) -> Tensor:
        """Transform the atom features before a block, (N, dim) -> (N, dim)."""
        del block, z_c, crystal
        return z
