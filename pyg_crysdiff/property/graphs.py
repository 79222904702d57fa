"""Periodic graphs with angles for the property evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pymatgen.core import Lattice
from pymatgen.optimization.neighbors import find_points_in_spheres
from scipy.spatial import QhullError
from torch_geometric.data import Data

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.fingerprints.crystalnn import nearest_neighbours
from pyg_crysdiff.evaluation.fingerprints.voronoi import NoFingerprintError

_TIE = 1e-3  # Angstrom; neighbours at one distance are kept or cut together
_SELF = 1e-8
Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


class PropertyGraph(Data):
    """Directed multigraph of periodic neighbours and its triplets k -> j -> i.

    Attributes: ``atomic_numbers`` (N,), ``edge_index`` (2, E) with rows j and i, ``distance``
    (E,) in Angstrom, ``edge_kj`` and ``edge_ji`` (T,) numbers of edges, ``angle`` (T,) between
    j -> k and i -> j in radians, as in DimeNet++.
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Edge numbers grow by the number of edges when graphs are batched."""
        if key in ("edge_kj", "edge_ji"):
            return self.edge_index.size(1)
        return super().__inc__(key, value, *args, **kwargs)


def neighbours(crystal: Crystal, cutoff: float, max_neighbours: int | None) -> Edges:
    """Return centres i (E,), neighbours j (E,) and vectors from i to the image of j (E, 3).

    Args:
        crystal: A crystal of finite volume.
        cutoff: Radius, Angstrom.
        max_neighbours: Neighbours per atom, nearest first; more where the last ones tie, so
            that the graph does not depend on the order of atoms or the choice of axes.
    """
    positions = np.ascontiguousarray(crystal.frac_coords % 1.0 @ crystal.lattice)
    lattice = np.ascontiguousarray(crystal.lattice)
    pbc = np.ones(3, dtype=np.int64)
    i, j, image, distance = find_points_in_spheres(
        positions, positions, r=float(cutoff), pbc=pbc, lattice=lattice, tol=_SELF
    )
    keep = distance > _SELF
    i, j, image, distance = i[keep], j[keep], image[keep], distance[keep]
    order = np.lexsort((distance, i))
    i, j, image, distance = i[order], j[order], image[order], distance[order]
    if max_neighbours is not None and len(i):
        counts = np.bincount(i, minlength=len(crystal))
        first = np.cumsum(counts) - counts
        last = first + np.minimum(counts, max_neighbours) - 1
        limit = np.where(counts > 0, distance[np.minimum(last, len(i) - 1)], 0.0) + _TIE
        keep = distance <= limit[i]
        i, j, image = i[keep], j[keep], image[keep]
    vectors = positions[j] + image @ lattice - positions[i]
    return i.astype(np.int64), j.astype(np.int64), vectors


def property_graph(
    crystal: Crystal, cutoff: float, max_neighbours: int | None, target: float | None = None
) -> PropertyGraph:
    """Build the graph of one crystal.

    Args:
        crystal: A structurally valid crystal.
        cutoff: Radius, Angstrom.
        max_neighbours: See :func:`neighbours`.
        target: Property value, stored as ``y``.
    """
    edges = neighbours(crystal, cutoff, max_neighbours)
    return build_graph(crystal, edges, target=target)


def bonds(crystal: Crystal) -> Edges | None:
    """Return the edges of CDVAE's graphs: CrystalNN's bonds, each in both directions.

    Source: ``build_crystal_graph`` in CDVAE's ``data_utils.py``.

    Returns:
        As :func:`neighbours`; None where CrystalNN finds no bonds.
    """
    # CDVAE writes the cell in this orientation; bonds do not depend on it, rounding does.
    lattice = Lattice.from_parameters(*np.concatenate(crystal.parameters())).matrix
    turned = Crystal(lattice, crystal.frac_coords % 1.0, crystal.atomic_numbers)
    try:
        i, j, vectors = nearest_neighbours(turned)
    except (NoFingerprintError, QhullError, TypeError, ValueError, ArithmeticError):
        return None
    positions = turned.frac_coords @ lattice
    image = np.rint((vectors - positions[j] + positions[i]) @ np.linalg.inv(lattice))
    one = np.column_stack([i, j, image.astype(np.int64)])
    back = np.column_stack([j, i, -one[:, 2:]])
    both = np.unique(np.concatenate([one, back]), axis=0)  # sorted by i
    i, j, image = both[:, 0], both[:, 1], both[:, 2:]
    return i, j, positions[j] + image @ lattice - positions[i]


def build_graph(
    crystal: Crystal, edges: Edges, same_atom_is_back: bool = False, target: float | None = None
) -> PropertyGraph:
    """Build the graph of given edges.

    Args:
        crystal: The crystal.
        edges: From :func:`neighbours` or :func:`bonds`, sorted by i.
        same_atom_is_back: CDVAE's rule, no triplet with k = i in whatever image; else only the
            way back along the same edge is none.
        target: Property value, stored as ``y``.
    """
    i, j, vectors = edges
    distance = np.linalg.norm(vectors, axis=1)
    # Edges are sorted by i, so the edges into atom j are a run.
    counts = np.bincount(i, minlength=len(crystal))
    first = np.cumsum(counts) - counts
    into_j = counts[j]
    ji = np.repeat(np.arange(len(i)), into_j)
    within = np.arange(len(ji)) - np.repeat(np.cumsum(into_j) - into_j, into_j)
    kj = first[j[ji]] + within
    # The edge back from i itself (same image) is no triplet.
    back = j[kj] == i[ji]
    if not same_atom_is_back:
        back &= np.abs(vectors[kj] + vectors[ji]).max(1, initial=0) < 1e-6
    ji, kj = ji[~back], kj[~back]
    a, b = vectors[ji], vectors[kj]
    angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(1))
    graph = PropertyGraph(
        atomic_numbers=torch.from_numpy(crystal.atomic_numbers.copy()),
        edge_index=torch.from_numpy(np.stack([j, i])),
        distance=torch.from_numpy(distance).float(),
        edge_kj=torch.from_numpy(kj),
        edge_ji=torch.from_numpy(ji),
        angle=torch.from_numpy(angle).float(),
        num_nodes=len(crystal),
    )
    if target is not None:
        graph.y = torch.tensor([target], dtype=torch.float32)
    return graph
