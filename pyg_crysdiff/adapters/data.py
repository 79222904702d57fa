"""Our crystals in the form in which other pipelines' training code takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data


def lengths_and_cosines(data: Data) -> tuple[Tensor, Tensor]:
    """Return the cell of one crystal as lengths and angles.

    Args:
        data: A crystal with a row lattice, ``lattice`` (1, 3, 3) in Angstrom.

    Returns:
        Lengths (3,) in Angstrom and the cosines of alpha, beta and gamma (3,), both float64.
    """
    lattice = data.lattice[0].double()
    lengths = lattice.norm(dim=1)
    unit = lattice / lengths[:, None]
    cosines = torch.stack([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    return lengths, cosines


def diffcsp_data(items: Sequence[Data]) -> list[Data]:
    """Return crystals as DiffCSP (and CDVAE) batches them: by lengths and angles in degrees."""
    out = []
    for data in items:
        lengths, cosines = lengths_and_cosines(data)
        out.append(
            Data(
                frac_coords=data.frac_coords,
                atom_types=data.atomic_numbers,
                lengths=lengths.float().view(1, -1),
                angles=torch.rad2deg(cosines.arccos()).float().view(1, -1),
                num_atoms=len(data.atomic_numbers),
                num_nodes=len(data.atomic_numbers),
            )
        )
    return out


def mattergen_data(items: Sequence[Data]) -> list[Any]:
    """Return crystals as MatterGen's ``ChemGraph`` with its symmetrised lattice.

    Raises:
        ImportError: If MatterGen cannot be imported.
    """
    from mattergen.common.data.chemgraph import ChemGraph  # noqa: PLC0415
    from mattergen.common.data.transform import symmetrize_lattice  # noqa: PLC0415

    return [
        symmetrize_lattice(
            ChemGraph(
                atomic_numbers=data.atomic_numbers,
                pos=data.frac_coords,
                cell=data.lattice,
                num_atoms=torch.tensor([len(data.atomic_numbers)]),
                num_nodes=len(data.atomic_numbers),
            )
        )
        for data in items
    ]


def limit_density(items: Sequence[Data]) -> float:
    """Return atoms per cubic Angstrom of all crystals, which MatterGen's lattice process needs."""
    atoms = sum(len(data.atomic_numbers) for data in items)
    return atoms / sum(float(torch.linalg.det(data.lattice).abs()) for data in items)
