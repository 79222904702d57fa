"""Crystals that are, are nearly, or are not those of a set."""

from __future__ import annotations

import numpy as np

from pyg_crysdiff.data import Crystal, load_dataset


def perovskites(count: int, split: str = "all") -> list[Crystal]:
    """Crystals of the demo set."""
    return load_dataset("demo", split).crystals()[:count]


def variants(crystal: Crystal, rng: np.random.Generator) -> list[Crystal]:
    """Copies that a matcher should tell apart, or not: moved, strained, doubled, relabelled."""
    frac, lattice, numbers = crystal.frac_coords, crystal.lattice, crystal.atomic_numbers
    length = float(np.linalg.norm(lattice, axis=1).mean())
    noise = [rng.normal(0, size / length, frac.shape) for size in (0.02, 0.3, 0.8)]
    moved = [Crystal(lattice, frac + step, numbers) for step in noise]
    strain = [np.eye(3) + rng.normal(0, size, (3, 3)) for size in (0.02, 0.15)]
    strained = [Crystal(lattice @ s, frac, numbers) for s in strain]
    long = lattice * np.array([[2], [1], [1]])
    halves = np.concatenate([frac * [0.5, 1, 1], frac * [0.5, 1, 1] + [0.5, 0, 0]])
    doubled = Crystal(long, halves, np.tile(numbers, 2))
    kinds = list(dict.fromkeys(numbers.tolist()))
    swapped = dict(zip(kinds, kinds[1:] + kinds[:1], strict=True))
    relabelled = Crystal(lattice, frac, [swapped[z] for z in numbers.tolist()])
    order = rng.permutation(len(numbers))
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    again = Crystal(2.0 ** (1 / 3) * lattice @ turned, frac[order] + 0.3, numbers[order])
    return [*moved, *strained, doubled, relabelled, again]


def networks(count: int, rng: np.random.Generator) -> list[Crystal]:
    """Cells of one element and some sizes, as a set of carbon allotropes has them."""
    out = []
    for _ in range(count):
        atoms = int(rng.choice([2, 4, 6]))
        edge = (6.0 * atoms) ** (1 / 3)
        lattice = edge * (np.diag(rng.uniform(0.6, 1.6, 3)) + rng.normal(0, 0.2, (3, 3)))
        out.append(Crystal(lattice, rng.random((atoms, 3)), np.full(atoms, 6)))
    return out
