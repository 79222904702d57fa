"""The conditioners to choose from: the paper's CDI and CDS (eqs 16 to 19), and adaptive ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyg_crysdiff.nn.conditioning import Conditioner


class CDI(Conditioner):
    r"""Condition-dependent initialisation, :math:`z_i^0 = \mathrm{MLP}(z_{a_i} \oplus z_c)`.

    Time and condition enter at the input embedding only.
    """

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        # The first layer over the concatenation, split so that z_c is mapped once per crystal.
        self.from_species = nn.Linear(self.dim, self.dim)
        self.from_condition = nn.Linear(self.condition_dim, self.dim, bias=False)
        self.out = nn.Linear(self.dim, self.dim)

    def initial(self, z: Tensor, z_c: Tensor, crystal: Tensor) -> Tensor:
        """Return z^0 of eq. 16."""
        hidden = self.from_species(z) + self.from_condition(z_c).index_select(0, crystal)
        return self.out(nn.functional.silu(hidden))


class CDS(Conditioner):
    r"""Condition-dependent self-attention: :math:`q_i = z_i W^Q + z_c W^{Qc}`, k and v alike.

    :math:`W^{Kc}` is there as in the paper, but has no effect: it adds the same number to all
    logits of an atom, which the softmax cancels.
    """

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.projection = nn.ModuleList(
            nn.Linear(self.condition_dim, 3 * self.num_heads * self.head_dim, bias=False)
            for _ in range(self.num_blocks)
        )

    def attention(self, block: int, z_c: Tensor) -> Tensor:
        """Return z_c (W^Qc, W^Kc, W^Vc) of one block, (B, 3 * num_heads * head_dim)."""
        projected: Tensor = self.projection[block](z_c)
        return projected


class AdaLN(Conditioner):
    r"""Adaptive layer norm.

    .. math:: z_i \leftarrow (1 + \gamma_b(z_c)) \odot \mathrm{LN}(z_i) + \beta_b(z_c)

    Time and condition scale and shift the atom features before every block (Peebles & Xie, arXiv
    2212.09748). The maps start at zero, so that training begins with the unconditional network.
    """

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.norm = nn.LayerNorm(self.dim, elementwise_affine=False)
        self.modulation = _modulation(self)

    def block_input(self, block: int, z: Tensor, z_c: Tensor, crystal: Tensor) -> Tensor:
        """Return the scaled and shifted features of all atoms."""
        scale, shift = _changes(self.modulation[block], z_c, crystal)
        return self.norm(z) * (1 + scale) + shift


class _Modulated(Conditioner):
    r"""Scales and shifts atom features before every block, beside what a conditioner does.

    .. math:: z_i \leftarrow z_i + \gamma_b(z_c) \odot z_i + \beta_b(z_c)

    The maps start at zero, where the conditioner is as without them.
    """

    def __init__(self, **sizes: int) -> None:
        super().__init__(**sizes)
        self.modulation = _modulation(self)

    def block_input(self, block: int, z: Tensor, z_c: Tensor, crystal: Tensor) -> Tensor:
        """Return the scaled and shifted features of all atoms."""
        scale, shift = _changes(self.modulation[block], z_c, crystal)
        return torch.addcmul(z + shift, z, scale)


class AdaCDS(_Modulated, CDS):
    r"""Condition-dependent self-attention on atom features that the condition scales and shifts.

    .. math:: z_i \leftarrow z_i + \gamma_b(z_c) \odot z_i + \beta_b(z_c)

    before every block, which then attends as :class:`CDS` does: the condition decides both what an
    atom says and whom it listens to. The maps start at zero, where this is CDS.
    """


class AdaCDI(_Modulated, CDI):
    r"""Condition-dependent initialisation, and a reminder of the condition before every block.

    .. math:: z_i^0 = \mathrm{MLP}(z_{a_i} \oplus z_c), \qquad
        z_i \leftarrow z_i + \gamma_b(z_c) \odot z_i + \beta_b(z_c)

    What an atom is depends on the condition from the start, as in :class:`CDI`, and deep blocks
    need not carry it there through all others. The maps start at zero, where this is CDI.
    """


def _modulation(conditioner: Conditioner) -> nn.ModuleList:
    """One map per block from z_c to scales and shifts of all features, zero at the start."""
    maps = nn.ModuleList(
        nn.Linear(conditioner.condition_dim, 2 * conditioner.dim)
        for _ in range(conditioner.num_blocks)
    )
    for parameter in maps.parameters():
        nn.init.zeros_(parameter)
    return maps


def _changes(layer: nn.Module, z_c: Tensor, crystal: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift of every atom, (N, dim) each."""
    changes: Tensor = layer(nn.functional.silu(z_c)).index_select(0, crystal)
    scale, shift = changes.chunk(2, dim=1)
    return scale, shift
