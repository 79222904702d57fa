"""CHGNet's energy with its own weights, with less arithmetic than its own layers.

The first layer of every gated network takes joined features, [atom, bond, atom] for each of some
80 pairs per atom. A linear layer of joined features is the sum of linear layers of each, so that
the atoms' and bonds' parts are computed once per atom and bond and gathered then. The last update
of the angles, which no later layer reads, is left out. Results agree to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, silu


@dataclass(frozen=True)
class Graphs:
    """Joined graphs of some crystals.

    Attributes:
        numbers: Atomic numbers, (N,).
        owner: Crystal of each atom, (N,).
        pairs: Directed pairs of atoms, (E, 2).
        bond_of_pair: Undirected bond of each pair, (E,).
        long_bonds: Radial basis of the bonds with the cut-off of the atoms' graph, (E/2, R).
        short_bonds: The same with the cut-off of the bonds' graph, (E/2, R).
        angles: Atom and both bonds of each angle, (A, 3).
        angle_basis: Basis of the angles, (A, T).
    """

    numbers: Tensor
    owner: Tensor
    pairs: Tensor
    bond_of_pair: Tensor
    long_bonds: Tensor
    short_bonds: Tensor
    angles: Tensor
    angle_basis: Tensor


class Network:
    """CHGNet's layers.

    Args:
        model: ``chgnet.model.CHGNet`` of version 0.3.0.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._atoms = [_Gated(layer.twoBody_atom, 3) for layer in model.atom_conv_layers]
        self._bonds = [_Gated(layer.twoBody_bond, 4) for layer in model.bond_conv_layers]
        self._angles = [_Gated(layer.twoBody_bond, 4) for layer in model.angle_layers]

    def energies(self, graphs: Graphs, num_crystals: int) -> Tensor:
        """Return the energies of the crystals without CHGNet's sum over elements, (B,), eV."""
        model = self.model
        atoms = model.atom_embedding(graphs.numbers - 1)
        bonds = model.bond_embedding(graphs.long_bonds)
        pair_weights = model.bond_weights_ag(graphs.long_bonds)
        angle_weights = model.bond_weights_bg(graphs.short_bonds)
        angles = model.angle_embedding(graphs.angle_basis)
        last = len(self._bonds) - 1
        for i in range(last + 1):
            atoms = self._next_atoms(i, atoms, bonds, pair_weights, graphs)
            bonds = self._next_bonds(i, atoms, bonds, angles, angle_weights, graphs)
            if i < last:
                angles = angles + self._angles[i](_angle_parts(atoms, bonds, angles, graphs))
        atoms = self._next_atoms(last + 1, atoms, bonds, pair_weights, graphs)
        each = model.mlp(model.readout_norm(atoms)).view(-1)
        return each.new_zeros(num_crystals).index_add(0, graphs.owner, each)

    def _next_atoms(
        self, i: int, atoms: Tensor, bonds: Tensor, weights: Tensor, graphs: Graphs
    ) -> Tensor:
        center, other = graphs.pairs[:, 0], graphs.pairs[:, 1]
        parts = [(atoms, center), (bonds, graphs.bond_of_pair), (atoms, other)]
        messages = self._atoms[i](parts) * weights.index_select(0, graphs.bond_of_pair)
        total = torch.zeros_like(atoms).index_add(0, center, messages)
        return self.model.atom_conv_layers[i].mlp_out(total) + atoms

    def _next_bonds(
        self, i: int, atoms: Tensor, bonds: Tensor, angles: Tensor, weights: Tensor, graphs: Graphs
    ) -> Tensor:
        first, second = graphs.angles[:, 1], graphs.angles[:, 2]
        messages = self._bonds[i](_angle_parts(atoms, bonds, angles, graphs))
        messages = messages * weights.index_select(0, first) * weights.index_select(0, second)
        total = torch.zeros_like(bonds).index_add(0, first, messages)
        return self.model.bond_conv_layers[i].mlp_out(total) + bonds


def _angle_parts(
    atoms: Tensor, bonds: Tensor, angles: Tensor, graphs: Graphs
) -> list[tuple[Tensor, Tensor | None]]:
    atom, first, second = graphs.angles.T
    return [(bonds, first), (bonds, second), (angles, None), (atoms, atom)]


class _Gated:
    """A gated network whose first layer is applied before features are gathered.

    Args:
        layer: CHGNet's ``GatedMLP``.
        parts: Number of joined features.
    """

    def __init__(self, layer: Any, parts: int) -> None:
        core = [m for m in layer.mlp_core.layers if isinstance(m, torch.nn.Linear)]
        gate = [m for m in layer.mlp_gate.layers if isinstance(m, torch.nn.Linear)]
        weight = torch.cat([core[0].weight, gate[0].weight])
        self._blocks = weight.detach().chunk(parts, dim=1)
        self._bias = torch.cat([core[0].bias, gate[0].bias]).detach()
        self._core, self._gate, self._layer = core[1:], gate[1:], layer

    def __call__(self, parts: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
        """Return the network's output for features and the rows that are gathered of them."""
        hidden = self._bias
        for (features, rows), block in zip(parts, self._blocks, strict=True):
            part = linear(features, block)
            hidden = hidden + (part if rows is None else part.index_select(0, rows))
        core, gate = hidden.chunk(2, dim=1)
        for layer in self._core:
            core = layer(silu(core))
        for layer in self._gate:
            gate = layer(silu(gate))
        return silu(self._layer.bn1(core)) * torch.sigmoid(self._layer.bn2(gate))
