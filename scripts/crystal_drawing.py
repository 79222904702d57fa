"""Crystals as unit cells with shaded atoms, drawn with matplotlib for a page or a paper."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise, product

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.pages.structures import with_images

Array = NDArray[np.float64]
TURN, TILT = 24.0, 13.0  # degrees: a to the right, c up, seen a little from the side and from above
ATOM = 0.42  # drawn radius over covalent radius
BOND = 1.18  # longest bond over the sum of the covalent radii
IONS = (3, 11, 19, 37, 55, 87, 12, 20, 38, 56, 88, 57, 58, 59, 60)  # drawn without bonds
_LIGHT = np.array([-0.42, 0.52, 0.74])


def draw_crystal(axes: Axes, crystal: Crystal) -> None:
    """Draw one crystal: cell edges, atoms with their images on faces and corners, and bonds.

    Args:
        axes: Empty axes; they get equal scales and lose their frame.
        crystal: A structurally valid crystal.
    """
    lattice, fractional, numbers = _block(crystal)
    rotation = _view()
    corners = np.array(list(product((0.0, 1.0), repeat=3))) @ lattice
    centre = corners.mean(0)
    atoms = (fractional @ lattice - centre) @ rotation.T
    near, far = atoms[:, 2].max(), atoms[:, 2].min()

    def haze(depth: float) -> float:
        return 0.34 * (near - depth) / max(near - far, 1e-6)

    for start, end in _edges(lattice):
        _draw_edge(axes, (start - centre) @ rotation.T, (end - centre) @ rotation.T)
    for i, j in _bonds(atoms, numbers):
        _draw_bond(axes, atoms[[i, j]], numbers[[i, j]], haze)
    for position, number in zip(atoms, numbers, strict=True):
        radius = ATOM * float(covalent_radii[number])
        x, y, depth = position
        axes.imshow(
            _sphere(number, haze(depth)), zorder=10 + depth, interpolation="bilinear",
            extent=(x - radius, x + radius, y - radius, y + radius), clip_on=False,
        )  # fmt: skip
    seen = np.concatenate([atoms[:, :2], ((corners - centre) @ rotation.T)[:, :2]])
    middle, half = (seen.max(0) + seen.min(0)) / 2, np.ptp(seen, axis=0).max() / 2 + 0.75
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
    axes.axis("off")


def _block(crystal: Crystal) -> tuple[Array, Array, NDArray[np.int64]]:
    """The cell, repeated along axes that are much shorter than the longest, and all its atoms.

    Atoms on faces come with their images, and small cations with all their neighbours.

    Returns:
        Lattice of the block, (3, 3), Angstrom; fractional coordinates in it and atomic numbers.
    """
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    times = np.clip(np.round(0.3 * lengths.max() / lengths), 1, 2).astype(int)
    shifts = np.array(list(product(*map(range, times))))
    fractional = ((crystal.frac_coords % 1)[:, None] + shifts).reshape(-1, 3) / times
    lattice = crystal.lattice * times[:, None]
    block = Crystal(lattice, fractional, np.repeat(crystal.atomic_numbers, len(shifts)))
    inside, numbers = with_images(block)
    around = np.array(list(product((-1, 0, 1), repeat=3)))
    outside = (block.frac_coords[:, None] + around).reshape(-1, 3)
    others = np.repeat(block.atomic_numbers, len(around))
    distance = np.linalg.norm((outside[:, None] - inside) @ lattice, axis=-1)
    bonded = _bonded(distance, others, numbers) & _metallic(numbers)
    added = bonded.any(1) & (distance > 0.3).all(1)
    return (
        lattice,
        np.concatenate([inside, outside[added]]),
        np.concatenate([numbers, others[added]]),
    )


def _view() -> Array:
    """Rotation into the picture: x to the right, y up, z to the eye."""
    turn, tilt = np.radians([TURN, TILT])
    about_z = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    upright = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    )
    rotation: Array = about_x @ upright @ about_z
    return rotation


def _edges(lattice: Array) -> list[tuple[Array, Array]]:
    edges = []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        for a, b in product((0, 1), repeat=2):
            start = a * lattice[others[0]] + b * lattice[others[1]]
            edges.append((start, start + lattice[axis]))
    return edges


def _draw_edge(axes: Axes, start: Array, end: Array, pieces: int = 24) -> None:
    """An edge in pieces, so that atoms hide the part behind them only."""
    points = start + np.linspace(0, 1, pieces + 1)[:, None] * (end - start)
    for one, two in pairwise(points):
        axes.plot(
            [one[0], two[0]], [one[1], two[1]], color="#7a8791", lw=0.9,
            zorder=10 + (one[2] + two[2]) / 2, solid_capstyle="round",
        )  # fmt: skip


def _bonds(atoms: Array, numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    distance = np.linalg.norm(atoms[:, None] - atoms[None], axis=-1)
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(_bonded(distance, numbers, numbers)))]


def _bonded(distance: Array, ones: NDArray[np.int64], others: NDArray[np.int64]) -> Array:
    """Which pairs get a bond: near ones, but no two metals, and no large ions."""
    reach = BOND * (covalent_radii[ones][:, None] + covalent_radii[others])
    near: Array = (distance < reach) & (distance > 0.3)
    metals = _metallic(ones)[:, None] & _metallic(others)
    large = np.isin(ones, IONS)[:, None] | np.isin(others, IONS)
    return near & ~metals & ~large


def _metallic(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    others = {1, 2, *range(5, 11), *range(14, 19), *range(33, 37), *range(52, 55), 85, 86}
    return np.array([int(z) not in others for z in numbers])


def _draw_bond(
    axes: Axes, ends: Array, numbers: NDArray[np.int64], haze: Callable[[float], float]
) -> None:
    middle = ends.mean(0)
    for end, number in zip(ends, numbers, strict=True):
        colour = _hazed(0.82 * np.asarray(jmol_colors[number]), haze(float(end[2])))
        axes.plot(
            [end[0], middle[0]], [end[1], middle[1]], color=colour, lw=2.0,
            zorder=10 + (end[2] + middle[2]) / 2 - 0.01, solid_capstyle="butt",
        )  # fmt: skip


def _sphere(number: int, haze: float, pixels: int = 72) -> Array:
    """An image of a lit sphere with a soft edge, RGBA."""
    line = np.linspace(-1.04, 1.04, pixels)
    x, y = np.meshgrid(line, -line)
    inside = np.clip(1 - x**2 - y**2, 0, None)
    normal = np.stack([x, y, np.sqrt(inside)], -1)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    diffuse = np.clip(normal @ light, 0, 1)
    halfway = light + np.array([0, 0, 1.0])
    shine = np.clip(normal @ (halfway / np.linalg.norm(halfway)), 0, 1) ** 38
    colour = np.asarray(jmol_colors[number])
    lit = colour * (0.50 + 0.55 * diffuse)[..., None] + 0.55 * shine[..., None]
    rim = np.clip((np.hypot(x, y) - 0.90) / 0.10, 0, 1)[..., None]
    lit = _hazed(np.clip(lit * (1 - 0.45 * rim), 0, 1), haze)
    alpha = np.clip((1.0 - np.hypot(x, y)) * pixels / 2.6, 0, 1)
    return np.concatenate([lit, alpha[..., None]], -1)


def _hazed(colour: Array, haze: float) -> Array:
    """Distant things are paler."""
    return colour + (1 - colour) * haze


def subscripted(formula: str) -> str:
    """Return a formula with its numbers as mathtext subscripts."""
    return re.sub(r"(\d+)", r"$_{\1}$", formula)
