"""Random moves out of a local minimum, for the reconstruction of coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from pyg_crysdiff.structrepdiff.orbits import Orbits
from pyg_crysdiff.structrepdiff.starts import Array, Frame, RandomSites
from pyg_crysdiff.structrepdiff.symmetry import SpaceGroup


def exchange(numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an order of the atoms that exchanges sites between two species, (N,).

    One atom of each, as many as the rarer species has, or a number in between: whole orbits change
    places at once where the geometry is right and the species are not.

    Args:
        numbers: Atomic numbers, (N,); at least two species.
        rng: Generator.
    """
    first, second = rng.choice(np.unique(numbers), 2, replace=False)
    a, b = np.flatnonzero(numbers == first), np.flatnonzero(numbers == second)
    most = min(len(a), len(b))
    count = int(rng.choice([1, most, int(rng.integers(1, most + 1))]))
    order = np.arange(len(numbers))
    a, b = rng.choice(a, count, replace=False), rng.choice(b, count, replace=False)
    order[a], order[b] = b, a
    return order


def exchange_orbits(
    numbers: np.ndarray, orbits: Orbits, rng: np.random.Generator
) -> np.ndarray | None:
    """Return an order of the atoms that exchanges two orbits, (N,), or None.

    Orbits of one size and of two species change places, which keeps the space group; None where
    there are no such orbits.

    Args:
        numbers: Atomic numbers, (N,).
        orbits: Symmetry of the structure.
        rng: Generator.
    """
    members = orbits.members
    partners = [
        (a, b)
        for a, b in combinations(members, 2)
        if len(a) == len(b) and numbers[a[0]] != numbers[b[0]]
    ]
    if not partners:
        return None
    a, b = partners[int(rng.integers(len(partners)))]
    order = np.arange(len(numbers))
    order[a], order[b] = b, a
    return order


def hop(
    frac_coords: Array,
    frame: Frame,
    rng: np.random.Generator,
    moves: Sequence[str],
    step: float,
    orbits: Orbits | None = None,
) -> Array:
    """Return coordinates after one random move, (N, 3).

    Args:
        frac_coords: Coordinates of a local minimum, (N, 3).
        frame: Lattice, composition.
        rng: Generator.
        moves: Kinds to choose from: ``jump`` displaces all atoms at random (the paper's move),
            ``swap`` exchanges sites of two species (:func:`exchange`), ``relocate`` puts one
            atom into a void. With one species a swap becomes a relocation.
        step: Largest displacement of a jump along each axis, Angstrom.
        orbits: Symmetry of the structure, which the move then keeps: a jump changes the free
            parameters, the others move whole orbits. A swap of orbits that have no partner of
            their size becomes a relocation, and that a jump where there is no other place.

    Raises:
        ValueError: If a kind is unknown.
    """
    if unknown := set(moves) - {"jump", "swap", "relocate"}:
        raise ValueError(f"unknown moves {sorted(unknown)}")
    kind = moves[int(rng.integers(len(moves)))]
    if orbits is not None:
        return _symmetric_hop(frac_coords, frame, rng, kind, step, orbits)
    count = len(frac_coords)
    if kind == "jump" or count == 1:
        shift = rng.uniform(-step, step, (count, 3)) @ np.linalg.inv(frame.lattice)
        return frac_coords + shift
    out = frac_coords.copy()
    if kind == "swap" and len(np.unique(frame.atomic_numbers)) > 1:
        return out[exchange(frame.atomic_numbers, rng)]
    i = rng.integers(count)
    points = rng.random((24, 3))
    void = frame.separation(points, np.delete(out, i, axis=0)).min(1)
    out[i] = points[void.argmax()]
    return out


def _symmetric_hop(
    x: Array, frame: Frame, rng: np.random.Generator, kind: str, step: float, orbits: Orbits
) -> Array:
    if kind == "swap":
        order = exchange_orbits(frame.atomic_numbers, orbits, rng)
        if order is not None:
            swapped: Array = x[order]
            return swapped
    if kind != "jump":
        chosen = orbits.members[int(rng.integers(len(orbits.members)))]
        site = _other_site(np.delete(x, chosen, axis=0), frame, rng, len(chosen), orbits.group)
        if site is not None:
            out = x.copy()
            out[chosen] = site
            return out
    shift = orbits.basis @ rng.uniform(-step, step, orbits.freedom)
    return x + shift @ np.linalg.inv(frame.lattice)


def _other_site(
    rest: Array, frame: Frame, rng: np.random.Generator, size: int, group: SpaceGroup
) -> Array | None:
    """Return an orbit of that many points, often one far from the other atoms, or None."""
    best, furthest = None, 0.0
    sites = RandomSites.drawn(frame, group, rng, size)
    for k in np.flatnonzero(sites.sizes == size).tolist():
        site = sites.orbit(k)
        if site is not None:
            apart = frame.separation(site, rest).min(initial=np.inf)
            distance = min(frame.closest(site), apart)
            distance *= rng.random()  # the emptiest place is not always the right one
            if distance > furthest:
                best, furthest = site, distance
    return best
