"""Voronoi cells of the sites of a crystal, with the areas and solid angles of their faces.

The cell of a site is the dual of the convex hull of the points 2 d / |d|^2 of its neighbours at d,
which is far cheaper than a tessellation of the surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from pymatgen.optimization.neighbors import find_points_in_spheres
from scipy.spatial import ConvexHull, QhullError

from pyg_crysdiff.data.crystal import Crystal

Array = NDArray[np.float64]
_CUTOFF = 7.0  # CrystalNN's default, Angstrom
_FIRST = 48  # neighbours of the first hull; usually they close the cell
_FAR = 100.0  # unit cells


class NoFingerprintError(ValueError):
    """CrystalNN finds no neighbours of a site."""


@dataclass(frozen=True)
class Faces:
    """Voronoi faces of all sites of a crystal, flattened.

    Attributes:
        site: Site of each face, ascending, (F,).
        vector: From the site to the neighbour, (F, 3), Angstrom.
        neighbour: Index of the neighbour's atom, (F,).
        solid_angle: Solid angle of the face, (F,).
        area: Area of the face, (F,).
    """

    site: NDArray[np.int64]
    vector: Array
    neighbour: NDArray[np.int64]
    solid_angle: Array
    area: Array


def voronoi_faces(crystal: Crystal) -> Faces:
    """Return the faces of the Voronoi cells of all sites.

    As in pymatgen's ``VoronoiNN``, the cell of a site is built from the atoms within 7 Angstrom;
    while it is open the radius doubles, up to the longest diagonal of the unit cell.
    """
    lattice = np.ascontiguousarray(crystal.lattice)
    frac = crystal.frac_coords
    if np.abs(frac).max(initial=0.0) > _FAR:  # the search lists every cell on the way out there
        frac = frac % 1.0
    positions = np.ascontiguousarray(frac @ lattice)
    corners = np.array([c for c in product((1, -1), repeat=3) if sum(c) >= 1]) @ lattice
    max_cutoff = np.linalg.norm(corners, axis=1).max() + 0.01
    pending = list(range(len(crystal)))
    cutoff = _CUTOFF
    found: dict[int, tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]]] = {}
    while pending:
        surroundings = _surroundings(positions, lattice, pending, cutoff)
        opened = []
        for site, (vectors, indices) in zip(pending, surroundings, strict=True):
            cell = _dual_hull(vectors, cutoff)
            if cell is None:
                opened.append(site)
            else:
                found[site] = (vectors, indices, *cell)
        if opened and cutoff >= max_cutoff:
            raise NoFingerprintError("the Voronoi cell of a site does not close")
        cutoff = min(cutoff * 2, max_cutoff + 0.001)
        pending = opened
    return _collect([found[site] for site in range(len(crystal))])


def _surroundings(
    positions: Array, lattice: Array, sites: Sequence[int], cutoff: float
) -> list[tuple[Array, NDArray[np.int64]]]:
    """Vectors to the atoms within the cutoff, nearest first, and their indices."""
    centres = np.ascontiguousarray(positions[list(sites)])
    pbc = np.ones(3, dtype=np.int64)
    i, j, image, distance = find_points_in_spheres(
        positions, centres, r=float(cutoff), pbc=pbc, lattice=lattice, tol=1e-8
    )
    order = np.lexsort((distance, i))
    i, j, image, distance = i[order], j[order], image[order], distance[order]
    ends = np.searchsorted(i, np.arange(len(sites) + 1))
    out = []
    for number, (first, end) in enumerate(pairwise(ends)):
        index = j[first:end]
        vectors = positions[index] + image[first:end] @ lattice - centres[number]
        if end - first < 2 or distance[first + 1] < 1e-6:
            raise NoFingerprintError("two atoms at one position")
        out.append((vectors[1:], index[1:].astype(np.int64)))
    return out


def _dual_hull(vectors: Array, cutoff: float) -> tuple[Array, NDArray[np.int64]] | None:
    """Vertices of the Voronoi cell (T, 3) and the three faces of each (T, 3); None if open."""
    squared = (vectors * vectors).sum(1)
    points = 2 * vectors / squared[:, None]
    for count in (_FIRST, len(points)):
        if count > len(points) or len(points) < 4:
            continue
        try:
            hull = ConvexHull(points[:count])
        except QhullError:
            if count == len(points):
                return None
            continue
        offset = hull.equations[:, 3]
        if (offset < -1e-12).all():
            vertices = -hull.equations[:, :3] / offset[:, None]
            # Atoms beyond twice the farthest vertex cannot cut the cell.
            reach = 4 * (vertices * vertices).sum(1).max()
            if count == len(points) or reach <= squared[count]:
                return vertices, hull.simplices.astype(np.int64)
    return None


def _collect(
    cells: Sequence[tuple[Array, NDArray[np.int64], Array, NDArray[np.int64]]],
) -> Faces:
    """Areas and solid angles of all faces of all cells."""
    sites, vectors, neighbours, corners, owners = [], [], [], [], []
    total = 0
    for site, (around, indices, vertices, simplices) in enumerate(cells):
        # np.unique with inverse, for small integers
        present = np.zeros(len(around), dtype=bool)
        present[simplices] = True
        used = np.flatnonzero(present)
        face = (np.cumsum(present) - 1)[simplices.ravel()]
        sites.append(np.full(len(used), site))
        vectors.append(around[used])
        neighbours.append(indices[used])
        corners.append(np.repeat(vertices, 3, axis=0))
        owners.append(face + total)
        total += len(used)
    vector = np.concatenate(vectors)
    angle, area = _polygons(np.concatenate(corners), np.concatenate(owners), vector)
    return Faces(np.concatenate(sites), vector, np.concatenate(neighbours), angle, area)


def _polygons(corner: Array, face: NDArray[np.int64], vector: Array) -> tuple[Array, Array]:
    """Solid angle and area of convex polygons given by their corners in any order.

    Args:
        corner: Corners, (C, 3), seen from the site.
        face: Polygon of each corner, (C,).
        vector: Vector from the site to the neighbour behind each polygon, (F, 3).
    """
    count = len(vector)
    size = np.bincount(face, minlength=count)
    centre = np.stack([np.bincount(face, corner[:, a], count) for a in range(3)], 1) / size[:, None]
    normal = vector / np.linalg.norm(vector, axis=1, keepdims=True)
    helper = np.eye(3)[np.abs(normal).argmin(1)]
    u = np.cross(normal, helper)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(normal, u)
    relative = corner - centre[face]
    turn = np.arctan2((relative * v[face]).sum(1), (relative * u[face]).sum(1))
    order = np.lexsort((turn, face))
    corner, face = corner[order], face[order]
    first = np.cumsum(size) - size
    start = corner[first][face]
    # Fan of triangles (first, this, next); the two that touch the first corner twice are empty.
    following = np.append(np.arange(1, len(face)), 0)
    inside = np.append(face[1:] == face[:-1], False)
    a, b, c = start[inside], corner[inside], corner[following[inside]]
    owner = face[inside]
    triple = np.abs((a * np.cross(b, c)).sum(1))
    la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
    scale = la * lb * lc + lc * (a * b).sum(1) + lb * (a * c).sum(1) + la * (b * c).sum(1)
    angle = np.bincount(owner, 2 * np.arctan2(triple, scale), count)
    volume = np.bincount(owner, triple / 6, count)
    area: Array = 3 * volume / (np.linalg.norm(vector, axis=1) / 2)
    return np.asarray(angle, dtype=np.float64), area
