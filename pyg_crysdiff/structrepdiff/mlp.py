"""A denoiser of representations whose layers see the whole vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyg_crysdiff.nn.conditioners import CDS
from pyg_crysdiff.nn.conditioning import ConditionEmbedding, Conditioner, SinusoidalTime


class ModulatedBlock(nn.Module):
    """A residual layer of two maps; the time scales and shifts its input and scales its output.

    The maps of the time start at zero (adaLN, Peebles & Xie, arXiv 2212.09748).

    Args:
        dim: Features.
        hidden: Hidden features.
        time_dim: Width of the time embedding.
    """

    def __init__(self, dim: int, hidden: int, time_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.time = nn.Linear(time_dim, 3 * dim)
        self.first, self.second = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return (B, dim) from x (B, dim) and the time embedding (B, time_dim)."""
        scale, shift, gate = self.time(time).chunk(3, 1)
        h = self.norm(x) * (1 + scale) + shift
        return x + (1 + gate) * self.second(F.silu(self.first(h)))


class RepresentationMLP(nn.Module):
    """Predicts noise or velocity of a noised representation with residual layers over all of it.

    The coordinates of a representation have no order in which a convolution could find neighbours,
    and every one may depend on every other. The conditioners of the crystal Transformer
    (:class:`pyg_crysdiff.nn.Conditioner`) serve here as they are, with one position for each
    crystal: over a single position the softmax of an attention is 1, and of what they add to
    queries, keys and values only the values remain.

    Args:
        length: Coordinates D.
        properties: Property name to (mean, standard deviation); none for the base model.
        conditioner: Factory of the conditioner.
        dim: Features.
        num_blocks: Residual layers.
        mlp_ratio: Hidden features of a layer, over ``dim``.
        time_dim: Width of the embedding of the time, and of the values that a conditioner adds.
        hints: Further inputs, see :meth:`forward`.
        outputs: Further outputs, behind the prediction.
    """

    def __init__(
        self,
        length: int,
        properties: Mapping[str, tuple[float, float]] | None = None,
        conditioner: Callable[..., Conditioner] = CDS,
        dim: int = 384,
        num_blocks: int = 4,
        mlp_ratio: float = 2.0,
        time_dim: int = 64,
        hints: int = 0,
        outputs: int = 0,
    ) -> None:
        super().__init__()
        self.length = length
        self.time = nn.Sequential(
            SinusoidalTime(time_dim), nn.Linear(time_dim, 2 * time_dim), nn.SiLU(),
            nn.Linear(2 * time_dim, time_dim), nn.SiLU(),
        )  # fmt: skip
        self.condition_embedding = ConditionEmbedding(dim, properties)
        self.conditioner = conditioner(
            dim=dim, condition_dim=dim, num_blocks=num_blocks, num_heads=1, head_dim=time_dim
        )
        self.first = nn.Linear(length + hints, dim)
        self.blocks = nn.ModuleList(
            ModulatedBlock(dim, round(mlp_ratio * dim), time_dim) for _ in range(num_blocks)
        )
        adds = type(self.conditioner).attention is not Conditioner.attention
        self.values = nn.ModuleList(nn.Linear(time_dim, dim) for _ in range(num_blocks * adds))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, length + outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor] | None = None,
        hints: Tensor | None = None,
    ) -> Tensor:
        """Return the prediction and what is behind it, (B, length + outputs).

        Args:
            x: Noised coordinates, (B, length).
            t: Integer times, (B,).
            condition: Property name to raw values (B,); NaN means not given.
            hints: What is known of the clean coordinates without the network, (B, hints).
        """
        x = x if hints is None else torch.cat([x, hints], 1)
        time, z_c = self.time(t), self.condition_embedding(t, condition)
        crystal = torch.arange(len(x), device=x.device)
        h = self.conditioner.initial(self.first(x), z_c, crystal)
        for index, block in enumerate(self.blocks):
            h = self.conditioner.block_input(index, h, z_c, crystal)
            added = self.conditioner.attention(index, z_c)
            if added is not None:
                h = h + self.values[index](added.chunk(3, 1)[2])
            h = block(h, time)
        out: Tensor = self.out(self.norm(h))
        return out
