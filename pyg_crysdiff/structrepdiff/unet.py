"""The denoiser of representations: a one-dimensional U-Net (arXiv 2408.07213, A.3.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyg_crysdiff.nn.conditioners import CDS
from pyg_crysdiff.nn.conditioning import ConditionEmbedding, Conditioner, SinusoidalTime


class StandardisedConv(nn.Conv1d):
    """Convolution whose weights have mean 0 and variance 1 per output (Qiao et al. 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, (B, C, M) -> (B, C', M)."""
        w = self.weight
        mean, var = w.mean((1, 2), keepdim=True), w.var((1, 2), unbiased=False, keepdim=True)
        return self._conv_forward(x, (w - mean) * torch.rsqrt(var + 1e-5), self.bias)


class ResNetBlock(nn.Module):
    """Two convolutions with group norm; the time scales and shifts between them.

    Args:
        inputs: Channels in.
        dim: Channels out.
        time_dim: Width of the time embedding.
        groups: Groups of the norms.
    """

    def __init__(self, inputs: int, dim: int, time_dim: int, groups: int = 8) -> None:
        super().__init__()
        self.time = nn.Linear(time_dim, 2 * dim)
        self.first = StandardisedConv(inputs, dim, 3, padding=1)
        self.first_norm = nn.GroupNorm(groups, dim)
        self.second = StandardisedConv(dim, dim, 3, padding=1)
        self.second_norm = nn.GroupNorm(groups, dim)
        self.skip = nn.Identity() if inputs == dim else nn.Conv1d(inputs, dim, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return (B, dim, M) from x (B, inputs, M) and the time embedding (B, time_dim)."""
        scale, shift = self.time(F.silu(time)).unsqueeze(2).chunk(2, 1)
        h = F.silu(self.first_norm(self.first(x)) * (1 + scale) + shift)
        return F.silu(self.second_norm(self.second(h))) + self.skip(x)


class LinearAttention(nn.Module):
    """Linear attention over positions (Shen et al. 2021) with room for a conditioner's terms.

    Args:
        dim: Channels.
        num_heads: Heads.
        head_dim: Width of a head.
    """

    def __init__(self, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.norm = nn.GroupNorm(1, dim)
        self.qkv = nn.Conv1d(dim, 3 * num_heads * head_dim, 1, bias=False)
        self.out = nn.Sequential(nn.Conv1d(num_heads * head_dim, dim, 1), nn.GroupNorm(1, dim))

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """Return x plus attention, (B, dim, M).

        Args:
            x: Features, (B, dim, M).
            extra: Terms added to q, k and v, (B, 3 * num_heads * head_dim).
        """
        qkv = self.qkv(self.norm(x))
        if extra is not None:
            qkv = qkv + extra.unsqueeze(2)
        b, _, m = qkv.shape
        q, k, v = qkv.view(b, 3, self.num_heads, self.head_dim, m).unbind(1)
        q, k = q.softmax(2) * self.head_dim**-0.5, k.softmax(3)
        context = k @ v.transpose(2, 3)
        return x + self.out((context.transpose(2, 3) @ q).flatten(1, 2))


class RepresentationUNet(nn.Module):
    """Predicts the noise of a noised representation vector.

    Every stage has two ResNet blocks and a linear attention, down and up, with skip connections.
    All stages have the same number of channels, so that the conditioners of the crystal
    Transformer (:class:`pyg_crysdiff.nn.Conditioner`) serve here as they are: positions along the
    vector take the place of atoms.

    Args:
        length: Length D of the vector.
        properties: Property name to (mean, standard deviation); none for the base model.
        conditioner: Factory of the conditioner.
        dim: Channels.
        num_stages: Stages; each but the last halves the length.
        num_heads: Heads of the attention.
        head_dim: Width of a head.
        patch: Neighbouring entries that make one position; the paper's network has 1, a larger
            one is faster in proportion.
        position: Add an embedding of the position; the paper's network has none.
        mixer: Add a plain MLP over the whole vector; the paper's network has none.
        middle_blocks: ResNet blocks of the middle stage, 1 or 2; the paper's network has 2, with
            linear attention between them.
    """

    def __init__(
        self,
        length: int,
        properties: Mapping[str, tuple[float, float]] | None = None,
        conditioner: Callable[..., Conditioner] = CDS,
        dim: int = 64,
        num_stages: int = 3,
        num_heads: int = 4,
        head_dim: int = 64,
        patch: int = 4,
        position: bool = True,
        mixer: bool = True,
        middle_blocks: int = 1,
    ) -> None:
        super().__init__()
        if middle_blocks not in (1, 2):
            raise ValueError(f"middle_blocks must be 1 or 2, got {middle_blocks}")
        self.length, self.num_stages, self.patch = length, num_stages, patch
        multiple = patch * 2 ** (num_stages - 1)
        self.padding = -length % multiple
        positions = (length + self.padding) // patch
        time_dim = 4 * dim
        self.time = nn.Sequential(
            SinusoidalTime(dim), nn.Linear(dim, time_dim), nn.SiLU(), nn.Linear(time_dim, time_dim)
        )
        self.condition_embedding = ConditionEmbedding(dim, properties)
        self.conditioner = conditioner(
            dim=dim,
            condition_dim=dim,
            num_blocks=2 * num_stages + (middle_blocks == 2),
            num_heads=num_heads,
            head_dim=head_dim,
        )
        # Entries of the vector have a meaning of their own, unlike pixels: each has an embedding.
        self.position = nn.Parameter(torch.randn(1, dim, positions) * 0.02) if position else None
        self.first = nn.Conv1d(patch, dim, 7 if patch == 1 else 3, padding="same")
        blocks = [ResNetBlock(dim, dim, time_dim) for _ in range(2 * num_stages)]
        self.down = nn.ModuleList(blocks)
        self.up = nn.ModuleList(ResNetBlock(2 * dim, dim, time_dim) for _ in range(2 * num_stages))
        self.attention = nn.ModuleList(
            LinearAttention(dim, num_heads, head_dim)
            for _ in range(2 * num_stages + (middle_blocks == 2))
        )
        self.shrink = nn.ModuleList(
            nn.Conv1d(dim, dim, 4, stride=2, padding=1) for _ in range(num_stages - 1)
        )
        self.grow = nn.ModuleList(nn.Conv1d(dim, dim, 3, padding=1) for _ in range(num_stages - 1))
        self.middle = ResNetBlock(dim, dim, time_dim)
        self.middle_end = ResNetBlock(dim, dim, time_dim) if middle_blocks == 2 else None
        self.last = ResNetBlock(2 * dim, dim, time_dim)
        self.out = nn.Conv1d(dim, patch, 1)
        # The entries that are no descriptor values (composition, size, cell) have no neighbours
        # in a meaningful order; a plain MLP over the whole vector sees them all at once.
        self.mixer = _mixer(length, time_dim + dim, 8 * dim) if mixer else None

    def forward(
        self, x: Tensor, t: Tensor, condition: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the predicted noise, (B, length).

        Args:
            x: Noised representations, (B, length).
            t: Integer times, (B,).
            condition: Property name to raw values (B,); NaN means not given.
        """
        time, z_c = self.time(t), self.condition_embedding(t, condition)
        patches = F.pad(x, (0, self.padding)).unflatten(1, (-1, self.patch)).transpose(1, 2)
        h = self.first(patches)
        if self.position is not None:
            h = h + self.position
        h = start = self._initial(h, z_c)
        skips = []
        for stage in range(self.num_stages):
            for block in self.down[2 * stage : 2 * stage + 2]:
                h = block(h, time)
                skips.append(h)
            h = self._attend(stage, h, z_c)
            if stage < self.num_stages - 1:
                h = self.shrink[stage](h)
        h = self.middle(h, time)
        if self.middle_end is not None:
            h = self.middle_end(self._attend(2 * self.num_stages, h, z_c), time)
        for stage in reversed(range(self.num_stages)):
            for block in self.up[2 * stage : 2 * stage + 2]:
                h = block(torch.cat([h, skips.pop()], 1), time)
            h = self._attend(2 * self.num_stages - 1 - stage, h, z_c)
            if stage:
                h = self.grow[stage - 1](F.interpolate(h, scale_factor=2.0))
        h = self.out(self.last(torch.cat([h, start], 1), time)).transpose(1, 2).flatten(1)
        h = h[:, : self.length]
        return h if self.mixer is None else h + self.mixer(torch.cat([x, time, z_c], 1))

    def _initial(self, h: Tensor, z_c: Tensor) -> Tensor:
        flat, owner = self._as_atoms(h)
        return (
            self.conditioner.initial(flat, z_c, owner).view(len(h), -1, h.size(1)).transpose(1, 2)
        )

    def _attend(self, index: int, h: Tensor, z_c: Tensor) -> Tensor:
        flat, owner = self._as_atoms(h)
        moved = self.conditioner.block_input(index, flat, z_c, owner)
        if moved is not flat:
            h = moved.view(len(h), -1, h.size(1)).transpose(1, 2)
        attention: Tensor = self.attention[index](h, self.conditioner.attention(index, z_c))
        return attention

    @staticmethod
    def _as_atoms(h: Tensor) -> tuple[Tensor, Tensor]:
        """Positions as rows, (B M, C), and the vector each belongs to."""
        b, c, m = h.shape
        owner = torch.arange(b, device=h.device).repeat_interleave(m)
        return h.transpose(1, 2).reshape(b * m, c), owner


def _mixer(length: int, inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(length + inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
        nn.Linear(hidden, length),
    )  # fmt: skip
