"""Which space groups a given cell allows, with their operations in the axes of that cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import spglib
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal

Array = NDArray[np.float64]
_NUM_HALL = 530


@dataclass(frozen=True)
class SpaceGroup:
    """Operations f -> f W + t of a space group modulo the lattice, f a row.

    Attributes:
        number: International number, 1 to 230.
        rotations: W, (G, 3, 3), integers.
        translations: t, (G, 3).
    """

    number: int
    rotations: Array
    translations: Array

    def images(self, points: Array) -> Array:
        """Return the images of points (M, 3) under all operations, (G, M, 3)."""
        return points @ self.rotations + self.translations[:, None]


def landings(
    images: Array, frac_coords: Array, numbers: NDArray[np.int64], lattice: Array
) -> tuple[NDArray[np.int64], Array]:
    """Return the atom of its species to which each image is nearest, and how far beside it lands.

    Args:
        images: Images of all atoms under one operation or several, (..., N, 3).
        frac_coords: Coordinates, (N, 3).
        numbers: Atomic numbers, (N,).
        lattice: Row lattice, Angstrom.

    Returns:
        Atoms, (..., N), and fractional vectors from them to the images, (..., N, 3).
    """
    delta = images[..., :, None, :] - frac_coords
    delta -= np.rint(delta)
    distance = np.linalg.norm(delta @ lattice, axis=-1)
    distance[..., numbers[:, None] != numbers] = np.inf
    atoms: NDArray[np.int64] = distance.argmin(-1)
    return atoms, np.take_along_axis(delta, atoms[..., None, None], -2)[..., 0, :]


def compatible_groups(lattice: Array, tolerance: float = 0.02) -> list[SpaceGroup]:
    """Return every space group, in every setting, that leaves the lattice as it is; P1 excluded.

    The groups of spglib's database are carried from the conventional axes of the bare lattice to
    the given ones; kept are those whose rotations are integer there and preserve the metric, and
    whose centring is the lattice's.

    Args:
        lattice: Row lattice, Angstrom.
        tolerance: Allowed change of an entry of the metric, relative to the lengths it belongs
            to; generated cells are not exact.
    """
    key = np.ascontiguousarray(lattice, dtype=np.float64).tobytes()
    return list(_compatible_groups(key, tolerance))


@lru_cache(maxsize=256)  # every wave of a search asks for the same cells
def _compatible_groups(key: bytes, tolerance: float) -> tuple[SpaceGroup, ...]:
    lattice = np.frombuffer(key).reshape(3, 3)
    bare: Any = (lattice, np.zeros((1, 3)), [1])
    dataset = spglib.get_symmetry_dataset(
        bare, symprec=tolerance * np.linalg.norm(lattice, axis=1).min()
    )
    if dataset is None:
        return ()
    to_standard = np.asarray(dataset.transformation_matrix, dtype=float)
    back = np.linalg.inv(to_standard)
    centrings = round(1 / abs(np.linalg.det(to_standard)))
    gram = lattice @ lattice.T
    scale = np.sqrt(np.outer(gram.diagonal(), gram.diagonal()))
    distinct, which, owners, translations = _database()
    # Columns x: x' = P^-1 R P x + P^-1 t; rows f need the transpose.
    w = np.einsum("ij,gjk,kl->gli", back, distinct, to_standard)
    integer = np.rint(w)
    moved = np.einsum("gij,jk,glk->gil", integer, gram, integer)
    kept = (np.abs(w - integer).max((1, 2)) < 1e-3) & (
        np.abs((moved - gram) / scale).max((1, 2)) < 2 * tolerance
    )
    good = kept[which]
    allowed = np.ones(_NUM_HALL + 1, dtype=bool)
    allowed[owners[~good]] = False
    shifts = translations @ back.T
    out = []
    numbers = _numbers()
    bounds = np.searchsorted(owners, np.arange(_NUM_HALL + 2))
    for hall in range(2, _NUM_HALL + 1):
        if allowed[hall]:
            part = slice(bounds[hall], bounds[hall + 1])
            group = _reduced(numbers[hall], which[part], integer, shifts[part], centrings)
            if group is not None:
                out.append(group)
    return tuple(out)


def _reduced(
    number: int, labels: NDArray[np.int64], rotations: Array, translations: Array, centrings: int
) -> SpaceGroup | None:
    """Keep one operation per rotation; None where the centring is not the lattice's."""
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    delta = translations - translations[first[which]]
    if np.abs(delta - np.rint(delta)).max() > 1e-3:
        return None
    if len(labels) != centrings * len(first):
        return None
    return SpaceGroup(number, rotations[labels[first]], translations[first] % 1.0)


@cache
def _database() -> tuple[Array, NDArray[np.int64], NDArray[np.int64], Array]:
    """Distinct rotations; of each operation its rotation, its Hall number, its translation."""
    rotations, owners, translations = [], [], []
    for hall in range(1, _NUM_HALL + 1):
        operations: Any = spglib.get_symmetry_from_database(hall)
        rotations.append(operations["rotations"])
        translations.append(operations["translations"])
        owners += [hall] * len(operations["rotations"])
    distinct, which = np.unique(np.concatenate(rotations), axis=0, return_inverse=True)
    return (
        distinct.astype(float),
        which.reshape(-1),
        np.array(owners),
        np.concatenate(translations).astype(float),
    )


@cache
def _numbers() -> tuple[int, ...]:
    types: list[Any] = [spglib.get_spacegroup_type(h) for h in range(1, _NUM_HALL + 1)]
    return (0, *(t.number for t in types))


def group_frequencies(crystals: Iterable[Crystal], symprec: float = 0.1) -> dict[int, int]:
    """Count the space groups of crystals, international number to count."""
    counts: dict[int, int] = {}
    for crystal in crystals:
        cell: Any = (crystal.lattice, crystal.frac_coords, crystal.atomic_numbers)
        found = spglib.get_symmetry_dataset(cell, symprec=symprec)
        number = 1 if found is None else int(found.number)
        counts[number] = counts.get(number, 0) + 1
    return counts


def group_weights(groups: list[SpaceGroup], frequencies: Mapping[int, int] | None) -> Array:
    """Return the probability of each group as a guess, (K,).

    The settings of one space group share its weight: its frequency, plus one, so that no group is
    excluded; equal weights without frequencies.
    """
    numbers = np.array([g.number for g in groups])
    settings = (numbers[:, None] == numbers).sum(1)
    weights: Array = _seen(numbers.tolist(), frequencies) / settings
    return weights / weights.sum()


def _seen(numbers: list[int], frequencies: Mapping[int, int] | None) -> Array:
    """Frequencies of space groups, plus one."""
    return np.array([(frequencies or {}).get(n, 0) + 1.0 for n in numbers])


def group_turns(
    lattice: Array, rng: np.random.Generator, frequencies: Mapping[int, int] | None
) -> list[int]:
    """Return the numbers of all space groups that a lattice allows, in a random order.

    Frequent ones tend to come first, but less than by their weights: by the square roots of these.
    """
    numbers = sorted({g.number for g in compatible_groups(lattice)})
    if not numbers:
        return []
    weights = np.sqrt(_seen(numbers, frequencies))
    order = rng.choice(len(numbers), len(numbers), replace=False, p=weights / weights.sum())
    return [numbers[k] for k in order]
