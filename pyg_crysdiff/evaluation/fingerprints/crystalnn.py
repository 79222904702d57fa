"""CrystalNN neighbours and the "ops" fingerprint of many crystals at once.

Same numbers as matminer's ``CrystalNNFingerprint.from_preset("ops")`` over pymatgen's
``CrystalNN`` (Pan et al., Inorg. Chem. 60, 1590 (2021)). The Voronoi cell of a site is the dual
of the convex hull of the points 2 d / |d|^2 of its neighbours at d, which is far cheaper than a
tessellation of the surroundings; weights are arrays over all faces; order parameters are computed
together for all sites of one coordination number.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core import Element
from pymatgen.optimization.neighbors import find_points_in_spheres
from scipy.spatial import ConvexHull, QhullError

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.fingerprints.order_parameters import Geometry, order_parameter

Array = NDArray[np.float64]
# CrystalNN's defaults.
_CUTOFF, _X_WEIGHT, _DISTANCE_CUTOFFS = 7.0, 3.0, (0.5, 1.0)
_FIRST = 48  # neighbours of the first hull; usually they close the cell
_MAX_CN = 24
_PRESET = Path(__file__).parent / "constants" / "order_parameters.json"
_BATCH = 256  # sites per array of order parameters


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


def structure_fingerprints(crystals: Sequence[Crystal]) -> list[Array | None]:
    """Return the mean fingerprint over the sites of each crystal, (61,), or None where it fails.

    Args:
        crystals: Crystals of finite, positive volume.
    """
    columns, operators = _layout()
    tables: list[Array | None] = []
    tasks: dict[int, list[tuple[int, int, float, Array]]] = defaultdict(list)
    for number, crystal in enumerate(crystals):
        try:
            bonds = coordination(crystal)
        except (NoFingerprintError, QhullError, TypeError, ValueError, ArithmeticError):
            tables.append(None)
            continue
        table = np.zeros((len(crystal), columns))
        for site, (weights, vectors) in enumerate(bonds):
            for cn, weight in weights.items():
                if cn <= _MAX_CN:
                    table[site, operators[cn][0][0]] = weight
                    if weight != 0 and len(operators[cn]) > 1:
                        tasks[cn].append((number, site, weight, vectors[:cn]))
        tables.append(table)
    for cn, entries in tasks.items():
        for start in range(0, len(entries), _BATCH):
            part = entries[start : start + _BATCH]
            geometry = Geometry(np.stack([vectors for *_, vectors in part]))
            for column, kind, params in operators[cn][1:]:
                values = order_parameter(kind, params, geometry)
                for (number, site, weight, _), value in zip(part, values, strict=True):
                    table_or_none = tables[number]
                    assert table_or_none is not None
                    table_or_none[site, column] = weight * value
    return [None if table is None else table.mean(0) for table in tables]


def coordination(crystal: Crystal) -> list[tuple[dict[int, float], Array]]:
    """Return, for every site, CrystalNN's weight of each coordination number and its neighbours.

    Vectors to the neighbours (n, 3) come in descending order of weight: the first c of them
    belong to coordination number c.

    Raises:
        NoFingerprintError: If the Voronoi cell of a site does not close.
        QhullError: If the atoms are degenerate.
    """
    if not crystal.reducible:  # the search radius would grow to the length of the cell
        raise NoFingerprintError("the cell is too flat or too long to be a crystal's")
    faces = voronoi_faces(crystal)
    weight = _weights(crystal, faces)
    out = []
    starts = np.searchsorted(faces.site, np.arange(len(crystal) + 1))
    for first, end in pairwise(starts):
        # Python's round is exact in decimal, numpy's is not; ties decide coordination numbers.
        # By the weights before rounding: the "bcc" parameter depends on the order of neighbours.
        order = np.argsort(-weight[first:end], kind="stable")
        rounded = [round(w, 3) for w in weight[first:end][order].tolist()]
        kept = [w for w in rounded if w > 0]
        out.append((_cn_weights(kept), faces.vector[first:end][order[: len(kept)]]))
    return out


def _cn_weights(weights: Sequence[float]) -> dict[int, float]:
    """Weight of each coordination number from rounded bond weights in descending order."""
    out: dict[int, float] = {}
    for count, weight in enumerate(weights, 1):
        following = weights[count] if count < len(weights) else 0.0
        if following != weight:
            area = _circle(weight) - _circle(following)
            out[count] = area / (0.25 * math.pi)
    return out


@cache
def _circle(x: float) -> float:
    """Area under the unit circle between 0 and x."""
    return 0.5 * (x * math.sqrt(1 - x * x) + math.asin(x))


def _weights(crystal: Crystal, faces: Faces) -> Array:
    """CrystalNN's bond weights: solid angle, openness, electronegativity, distance."""
    radius, negativity = _element_facts(crystal)
    count = len(crystal)
    largest = np.zeros(count)
    np.maximum.at(largest, faces.site, faces.solid_angle)
    weight = faces.solid_angle / largest[faces.site] * (faces.solid_angle / faces.area)
    difference = np.abs(negativity[faces.site] - negativity[faces.neighbour])
    chemical = 1 + _X_WEIGHT * np.sqrt(difference / 3.3)
    weight = weight * np.where(np.isnan(difference), 1.0, chemical)
    largest = np.zeros(count)
    np.maximum.at(largest, faces.site, weight)
    weight = weight / largest[faces.site]
    distance = np.linalg.norm(faces.vector, axis=1)
    low = radius[faces.site] + radius[faces.neighbour] + _DISTANCE_CUTOFFS[0]
    high = low - _DISTANCE_CUTOFFS[0] + _DISTANCE_CUTOFFS[1]
    fade = (np.cos((distance - low) / (high - low) * math.pi) + 1) * 0.5
    fade = np.where(distance <= low, 1.0, np.where(distance < high, fade, 0.0))
    return weight * fade


def _element_facts(crystal: Crystal) -> tuple[Array, Array]:
    """Radius (Angstrom) and Pauling electronegativity (NaN if unknown) of each site."""
    facts = np.array([_radius_and_negativity(int(z)) for z in crystal.atomic_numbers])
    return facts[:, 0], facts[:, 1]


@cache
def _radius_and_negativity(z: int) -> tuple[float, float]:
    element = Element.from_Z(z)
    radius = CovalentRadius.radius.get(element.symbol, element.atomic_radius)
    if radius is None:
        raise NoFingerprintError(f"no radius of {element.symbol}")
    return float(radius), float(element.X)


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


@cache
def _layout() -> tuple[int, dict[int, list[tuple[int, str, Any]]]]:
    """Number of columns; for each coordination number (column, type, parameters)."""
    # The file holds matminer's preset; reading it there would import half of matminer.
    table = json.loads(_PRESET.read_text(encoding="utf-8"))["by_coordination_number"]
    out: dict[int, list[tuple[int, str, Any]]] = {}
    column = 0
    for cn, entries in sorted(table.items(), key=lambda item: int(item[0])):
        out[int(cn)] = []
        for entry in entries:
            out[int(cn)].append((column, entry["type"], entry["parameters"]))
            column += 1
    return column, out
