"""Random moves out of a local minimum, for the reconstruction of coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyg_crysdiff.structrepdiff.starts import Array, Frame


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


def hop(
    frac_coords: Array,
    frame: Frame,
    rng: np.random.Generator,
    moves: Sequence[str],
    step: float,
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

    Raises:
        ValueError: If a kind is unknown.
    """
    if unknown := set(moves) - {"jump", "swap", "relocate"}:
        raise ValueError(f"unknown moves {sorted(unknown)}")
    kind = moves[int(rng.integers(len(moves)))]
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
