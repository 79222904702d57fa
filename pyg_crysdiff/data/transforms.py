"""PyG transforms for crystals."""

from __future__ import annotations

import warnings

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform


@functional_transform("fully_connected_crystal")
class FullyConnected(BaseTransform):
    """Add ``edge_index`` (2, E) of the fully connected crystal graph: every ordered pair of atoms.

    Goes with the next release: nothing here reads ``edge_index``.

    Args:
        loops: Include the pairs (i, i), as the attention of eq. (10) of arXiv 2406.09263 does.
    """

    def __init__(self, loops: bool = False) -> None:
        warnings.warn(
            "FullyConnected goes with the next release; torch.cartesian_prod(atoms, atoms).T is "
            "the edge_index of all ordered pairs",
            DeprecationWarning,
            stacklevel=2,
        )
        self.loops = loops

    def forward(self, data: Data) -> Data:
        """Return the data with ``edge_index`` added."""
        atoms = torch.arange(data.num_nodes, device=data.frac_coords.device)
        edges = torch.cartesian_prod(atoms, atoms).reshape(-1, 2)
        if not self.loops:
            edges = edges[edges[:, 0] != edges[:, 1]]
        data.edge_index = edges.t().contiguous()
        return data
