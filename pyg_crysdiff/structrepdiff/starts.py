"""Where a reconstruction starts: uniform, space-filling, symmetric or repeated coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.structrepdiff.superlattice import finer_cells
from pyg_crysdiff.structrepdiff.symmetry import SpaceGroup, compatible_groups, group_weights

Array = NDArray[np.float64]
_NO_SYMMETRY = SpaceGroup(1, np.eye(3)[None], np.zeros((1, 3)))
_IMAGES = np.array(list(product((-1, 0, 1), repeat=3)), dtype=float)


@dataclass(frozen=True)
class Frame:
    """What is known of a crystal before its coordinates.

    Attributes:
        lattice: Row lattice, Angstrom, (3, 3).
        atomic_numbers: Z, sorted, (N,).
        min_distance: Smallest distance between atoms, Angstrom, own images included.
    """

    lattice: Array
    atomic_numbers: NDArray[np.int64]
    min_distance: float

    def separation(self, a: Array, b: Array) -> Array:
        """Return the distances of fractional points (M, 3) and (K, 3), nearest image, (M, K).

        Exact for reduced cells; for others an upper bound, which is enough for a start.
        """
        delta = a[:, None] - b[None]
        delta -= np.round(delta)
        vectors = (delta[:, :, None] + _IMAGES) @ self.lattice
        distance: Array = np.sqrt(np.einsum("mkix,mkix->mki", vectors, vectors).min(-1))
        return distance

    def closest(self, points: Array) -> float:
        """Return the smallest distance between two of the points (M, 3); infinite for one."""
        if len(points) == 1:
            return math.inf
        return float(self.separation(points, points)[~np.eye(len(points), dtype=bool)].min())


@dataclass(frozen=True)
class Start:
    """Coordinates from which a reconstruction starts.

    Attributes:
        frac_coords: Coordinates, (N, 3).
        kind: How they were made.
        group: Space group that they obey by construction, in the axes of the cell; None for none.
    """

    frac_coords: Array
    kind: str
    group: SpaceGroup | None = None


def uniform(frame: Frame, rng: np.random.Generator) -> Array:
    """Return independent uniform coordinates, (N, 3): the paper's start."""
    return rng.random((len(frame.atomic_numbers), 3))


def spread(frame: Frame, rng: np.random.Generator, tries: int = 24) -> Array:
    """Return space-filling coordinates, (N, 3): each atom the farthest of some random points."""
    count = len(frame.atomic_numbers)
    out = rng.random((1, 3))
    while len(out) < count:
        points = rng.random((tries, 3))
        nearest = frame.separation(points, out).min(1)
        out = np.concatenate([out, points[[nearest.argmax()]]])
    return out[rng.permutation(count)]


def symmetric(
    frame: Frame,
    rng: np.random.Generator,
    groups: Sequence[SpaceGroup],
    weights: Array,
    attempts: int = 10,
) -> Start | None:
    """Return coordinates that obey a space group of the lattice, or None.

    Crystals are seldom without symmetry. Random points, moved to special positions that are near,
    are multiplied by the group until the composition is filled.

    Args:
        frame: Lattice, composition, smallest distance.
        rng: Generator.
        groups: :func:`pyg_crysdiff.structrepdiff.symmetry.compatible_groups` of the lattice.
        weights: Probability of each group.
        attempts: Groups to try.
    """
    if not groups:
        return None
    for _ in range(attempts):
        group = groups[rng.choice(len(groups), p=weights)]
        filled = _fill(frame, group, rng)
        if filled is not None:
            return Start(filled, "symmetric", group)
    return None


@dataclass(frozen=True)
class RandomSites:
    """Random points of a cell, general and special, and their orbits, made when asked for.

    Attributes:
        frame: Lattice and smallest distance.
        group: Space group in the axes of the lattice.
        points: One point of each orbit, (S, 3).
        sizes: Points of each orbit, (S,).
    """

    frame: Frame
    group: SpaceGroup
    points: Array
    sizes: NDArray[np.int64]

    @classmethod
    def drawn(cls, frame: Frame, group: SpaceGroup, rng: np.random.Generator, largest: int) -> Self:
        """Return sites whose orbits have no more than ``largest`` points."""
        points = rng.random((48, 3))
        radius = rng.choice([0.0, 0.5, 1.0, 1.5, 2.5], len(points))
        for _ in range(2):
            delta = _displacements(points, group)
            near = np.linalg.norm(delta @ frame.lattice, axis=-1) <= radius + 1e-9
            points = points + (delta * near[..., None]).sum(0) / near.sum(0)[:, None]
        delta = np.linalg.norm(_displacements(points, group) @ frame.lattice, axis=-1)
        fixed = delta < 1e-3
        clear = (fixed | (delta > 0.7 * frame.min_distance)).all(0)
        sizes = len(group.rotations) // fixed.sum(0)
        kept = clear & (sizes <= largest)
        return cls(frame, group, points[kept], sizes[kept])

    def orbit(self, site: int) -> Array | None:
        """Return the points of an orbit, (m, 3), or None where the group does not close there."""
        images = self.group.images(self.points[[site]])[:, 0] % 1.0
        # Two images of one site differ by nearly whole numbers: no neighbouring cell is looked at.
        delta = images[:, None] - images
        distance = np.linalg.norm((delta - np.rint(delta)) @ self.frame.lattice, axis=2)
        orbit: Array = images[~np.tril(distance < 1e-2, -1).any(1)]
        return orbit if len(orbit) == self.sizes[site] else None


def _displacements(points: Array, group: SpaceGroup) -> Array:
    """Nearest-image displacements of points (M, 3) by operations, (G, M, 3)."""
    delta = group.images(points) - points
    return delta - np.round(delta)


def _fill(frame: Frame, group: SpaceGroup, rng: np.random.Generator) -> Array | None:
    """Occupy orbits with the elements of the composition, or None where it does not work out."""
    closest = 0.85 * frame.min_distance
    sites = RandomSites.drawn(frame, group, rng, _most_sites(frame, closest))
    size = sites.sizes
    elements, counts = np.unique(frame.atomic_numbers, return_counts=True)
    placed: dict[int, list[Array]] = {}
    taken = np.empty((0, 3))
    free = np.ones(len(size), dtype=bool)
    for e in rng.permutation(len(elements)):
        left = int(counts[e])
        while left:
            usable = np.flatnonzero(free & (size <= left))
            if not len(usable):
                return None
            k = int(rng.choice(usable, p=size[usable] / size[usable].sum()))
            free[k] = False
            orbit = sites.orbit(k)
            if orbit is None or frame.closest(orbit) < closest:
                continue
            if len(taken) and frame.separation(orbit, taken).min() < closest:
                continue
            placed.setdefault(int(e), []).append(orbit)
            taken = np.concatenate([taken, orbit])
            left -= len(orbit)
    return np.concatenate([x for e in range(len(elements)) for x in placed[e]])


def _most_sites(frame: Frame, closest: float) -> int:
    """How many points of that distance a cell can hold at most: close-packed spheres."""
    sphere = math.pi / 6 * closest**3
    return math.floor(math.pi / math.sqrt(18) * abs(np.linalg.det(frame.lattice)) / sphere)


def repeated(
    frame: Frame, rng: np.random.Generator, frequencies: Mapping[int, int] | None = None
) -> Start | None:
    """Return coordinates that repeat a smaller cell, or None.

    Cells of known crystals need not be primitive; the cell alone then hides most of the symmetry.
    The number of copies m is drawn with a probability of 1 / m among those that divide the
    composition, the finer lattice among all of that index with a preference for compact ones (the
    sixth power of the shortest translation); its cell is filled symmetrically, or evenly where
    that fails.

    Args:
        frame: Lattice, composition, smallest distance.
        rng: Generator.
        frequencies: Space-group counts of known crystals.
    """
    elements, counts = np.unique(frame.atomic_numbers, return_counts=True)
    common = int(np.gcd.reduce(counts))
    choices = {
        m: cells
        for m in range(2, common + 1)
        if common % m == 0 and (cells := finer_cells(frame.lattice, m, 0.9 * frame.min_distance))
    }
    if not choices:
        return None
    chance = 1 / np.array(list(choices))
    m = list(choices)[rng.choice(len(choices), p=chance / chance.sum())]
    compact = np.array([np.linalg.norm(c.lattice, axis=1).min() for c in choices[m]]) ** 6
    cell = choices[m][rng.choice(len(compact), p=compact / compact.sum())]
    small = Frame(cell.lattice, np.repeat(elements, counts // m), frame.min_distance)
    groups = compatible_groups(cell.lattice)
    found = symmetric(small, rng, groups, group_weights(groups, frequencies), attempts=4)
    if found is None:
        found = Start(spread(small, rng), "spread", _NO_SYMMETRY)
    assert found.group is not None
    x = cell.repeat(found.frac_coords, frame.lattice)
    return Start(x, "repeated", cell.carried(found.group, frame.lattice))


_KINDS = ("uniform", "spread", "symmetric", "repeated")


def make_starts(
    frame: Frame,
    count: int,
    rng: np.random.Generator,
    kinds: Sequence[str],
    frequencies: Mapping[int, int] | None = None,
    only: int | None = None,
) -> list[Start]:
    """Return starts, their kinds in turn from ``kinds``.

    A repeated start that cannot be found is replaced by a symmetric one, a symmetric one by a
    space-filling one.

    Args:
        frame: Lattice, composition, smallest distance.
        count: Number of starts.
        rng: Generator.
        kinds: ``uniform``, ``spread``, ``symmetric``, ``repeated``.
        frequencies: Space-group counts of known crystals, for the last two.
        only: International number of the one space group that symmetric starts have; None for any.

    Raises:
        ValueError: If a kind is unknown.
    """
    if unknown := set(kinds) - set(_KINDS):
        raise ValueError(f"unknown kinds of starts {sorted(unknown)}")
    groups = compatible_groups(frame.lattice) if {"symmetric", "repeated"} & set(kinds) else []
    groups = [g for g in groups if only in (None, g.number)]
    weights = group_weights(groups, frequencies)
    out = []
    for k in range(count):
        kind = kinds[k % len(kinds)]
        start = repeated(frame, rng, frequencies) if kind == "repeated" else None
        if start is None and kind in ("symmetric", "repeated"):
            start = symmetric(frame, rng, groups, weights)
        if start is None and kind == "uniform":
            start = Start(uniform(frame, rng), "uniform")
        out.append(start or Start(spread(frame, rng), "spread"))
    return out
