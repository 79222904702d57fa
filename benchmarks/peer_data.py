"""Crystals in the form in which peers' code takes them, for the benchmarks that run it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data


def cell(d: Data) -> tuple[Tensor, Tensor]:
    """Return lengths (3,) and the cosines of alpha, beta, gamma (3,), float64."""
    lattice = d.lattice[0].double()
    lengths = lattice.norm(dim=1)
    unit = lattice / lengths[:, None]
    cosines = torch.stack([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    return lengths, cosines


def diffcsp_data(items: list[Data]) -> list[Data]:
    """DiffCSP's ``Data``: lengths and angles in the place of the lattice."""
    out = []
    for d in items:
        lengths, cosines = cell(d)
        out.append(
            Data(
                frac_coords=d.frac_coords,
                atom_types=d.atomic_numbers,
                lengths=lengths.float().view(1, -1),
                angles=torch.rad2deg(cosines.arccos()).float().view(1, -1),
                num_atoms=len(d.atomic_numbers),
                num_nodes=len(d.atomic_numbers),
            )
        )
    return out


def mattergen_data(items: list[Data]) -> list[Any]:
    """MatterGen's ``ChemGraph`` with its symmetrised lattice; its checkout must be importable."""
    from mattergen.common.data.chemgraph import ChemGraph
    from mattergen.common.data.transform import symmetrize_lattice

    return [
        symmetrize_lattice(
            ChemGraph(
                atomic_numbers=d.atomic_numbers,
                pos=d.frac_coords,
                cell=d.lattice,
                num_atoms=torch.tensor([len(d.atomic_numbers)]),
                num_nodes=len(d.atomic_numbers),
            )
        )
        for d in items
    ]


def limit_density(items: list[Data]) -> float:
    """Atoms per cubic Angstrom of all crystals, which MatterGen's lattice process asks for."""
    atoms = sum(len(d.atomic_numbers) for d in items)
    return atoms / sum(float(torch.linalg.det(d.lattice).abs()) for d in items)
