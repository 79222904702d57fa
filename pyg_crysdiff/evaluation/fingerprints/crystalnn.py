"""CrystalNN neighbours and the "ops" fingerprint of many crystals at once.

Same numbers as matminer's ``CrystalNNFingerprint.from_preset("ops")`` over pymatgen's
``CrystalNN`` (Pan et al., Inorg. Chem. 60, 1590 (2021)). Weights are arrays over all Voronoi faces
(:mod:`voronoi`); order parameters are computed together for all sites of one coordination number.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core import Element
from scipy.spatial import QhullError

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.fingerprints.order_parameters import Geometry, order_parameter
from pyg_crysdiff.evaluation.fingerprints.voronoi import Faces, NoFingerprintError, voronoi_faces

Array = NDArray[np.float64]
# CrystalNN's defaults.
_X_WEIGHT, _DISTANCE_CUTOFFS = 3.0, (0.5, 1.0)
_MAX_CN = 24
_PRESET = Path(__file__).parent / "constants" / "order_parameters.json"
_BATCH = 256  # sites per array of order parameters


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
    _check_shape(crystal)
    faces = voronoi_faces(crystal)
    return [
        (_cn_weights(weights), faces.vector[order])
        for order, weights in _by_weight(faces, _weights(crystal, faces), len(crystal))
    ]


def nearest_neighbours(crystal: Crystal) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Return the neighbours that CrystalNN finds by solid angles alone.

    Same neighbours as pymatgen's ``CrystalNN(distance_cutoffs=None, x_diff_weight=-1,
    porous_adjustment=False)``: those of each site's most probable coordination number.

    Returns:
        Sites (E,), ascending; the atoms that are their neighbours (E,); the vectors to these
        neighbours (E, 3), Angstrom.

    Raises:
        NoFingerprintError: If the Voronoi cell of a site does not close.
        QhullError: If the atoms are degenerate.
    """
    _check_shape(crystal)
    faces = voronoi_faces(crystal)
    largest = _largest(faces, faces.solid_angle, len(crystal))
    chosen = []
    for order, weights in _by_weight(faces, faces.solid_angle / largest, len(crystal)):
        shares = _cn_weights(weights)
        chosen.append(order[: max(shares, key=shares.__getitem__)])
    index = np.concatenate(chosen)
    return faces.site[index], faces.neighbour[index], faces.vector[index]


def _check_shape(crystal: Crystal) -> None:
    if not crystal.reducible:  # the search radius would grow to the length of the cell
        raise NoFingerprintError("the cell is too flat or too long to be a crystal's")


def _by_weight(
    faces: Faces, weight: Array, count: int
) -> Iterator[tuple[NDArray[np.int64], list[float]]]:
    """Yield, for every site, its faces in descending order of weight, and the rounded weights.

    Faces whose weight is rounded to zero are left out.
    """
    starts = np.searchsorted(faces.site, np.arange(count + 1))
    for first, end in pairwise(starts):
        # Python's round is exact in decimal, numpy's is not; ties decide coordination numbers.
        # By the weights before rounding: the "bcc" parameter depends on the order of neighbours.
        order = first + np.argsort(-weight[first:end], kind="stable")
        rounded = [round(w, 3) for w in weight[order].tolist()]
        kept = [w for w in rounded if w > 0]
        yield order[: len(kept)], kept


def _largest(faces: Faces, weight: Array, count: int) -> Array:
    """Return the largest weight among the faces of the same site, for every face, (F,)."""
    largest = np.zeros(count)
    np.maximum.at(largest, faces.site, weight)
    return largest[faces.site]


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
    largest = _largest(faces, faces.solid_angle, count)
    weight = faces.solid_angle / largest * (faces.solid_angle / faces.area)
    difference = np.abs(negativity[faces.site] - negativity[faces.neighbour])
    chemical = 1 + _X_WEIGHT * np.sqrt(difference / 3.3)
    weight = weight * np.where(np.isnan(difference), 1.0, chemical)
    weight = weight / _largest(faces, weight, count)
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
