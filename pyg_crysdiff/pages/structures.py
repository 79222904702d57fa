"""Crystals as 3D figures."""

from __future__ import annotations

import html
from itertools import product

import numpy as np
import plotly.graph_objects as go
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from pyg_crysdiff.data.crystal import Crystal

ON_DEMAND = """
const seen = new IntersectionObserver(entries => entries.forEach(entry => {
  const place = entry.target;
  if (!entry.isIntersecting) { if (place._fullLayout) Plotly.purge(place); return; }
  const figure = JSON.parse(place.dataset.figure);
  const how = {displayModeBar: false, responsive: true};
  Plotly.newPlot(place, figure.data, figure.layout, how).catch(() => {});  // purged meanwhile
}));
document.querySelectorAll("div.cell").forEach(place => seen.observe(place));
"""
_CONFIG = {"displayModeBar": False}


def structure_figure(crystal: Crystal, height: int = 300) -> str:
    """Return an HTML fragment with the unit cell; plotly.js must be on the page.

    Atoms on faces, edges and corners are drawn with their images.

    Args:
        crystal: A structurally valid crystal.
        height: Height in pixels.
    """
    text: str = _figure(crystal, height).to_html(
        full_html=False, include_plotlyjs=False, config=_CONFIG
    )
    return text


def structure_on_demand(crystal: Crystal, height: int = 300) -> str:
    """Return the same figure, drawn while it is in view; :data:`ON_DEMAND` must be on the page.

    Browsers draw about 16 figures in 3D at a time, and blank the oldest of more.

    Args:
        crystal: A structurally valid crystal.
        height: Height in pixels.
    """
    figure = _figure(crystal, height)
    figure.update_layout(template="none")
    data = html.escape(figure.to_json(), quote=True)
    return f'<div class="cell" style="height:{height}px" data-figure="{data}"></div>'


def _figure(crystal: Crystal, height: int) -> go.Figure:
    traces = [_cell(crystal.lattice)]
    frac, numbers = with_images(crystal)
    positions = frac @ crystal.lattice
    for z in np.unique(numbers):
        at = positions[numbers == z]
        red, green, blue = (int(255 * c) for c in jmol_colors[z])
        traces.append(
            go.Scatter3d(
                x=at[:, 0], y=at[:, 1], z=at[:, 2], mode="markers", name=chemical_symbols[z],
                marker={
                    "size": 6 + 9 * float(covalent_radii[z]),
                    "color": f"rgb({red},{green},{blue})",
                    "line": {"color": "#333", "width": 1},
                },
                hovertemplate=chemical_symbols[z] + " %{x:.2f} %{y:.2f} %{z:.2f} A",
            )
        )  # fmt: skip
    hidden = {"visible": False}
    figure = go.Figure(traces)
    # Off the diagonals of the cell, where atoms hide each other, and so far away that it fits.
    corners = np.array(list(product((0, 1), repeat=3))) @ crystal.lattice
    extent = np.ptp(corners, axis=0)
    away = 1.15 * extent.max() / extent.prod() ** (1 / 3)
    eye = dict(zip("xyz", (1.55 * away, 0.95 * away, 0.6 * away), strict=True))
    figure.update_layout(
        height=height, margin={"l": 0, "r": 0, "t": 0, "b": 0}, showlegend=True,
        legend={"x": 0, "y": 1},
        scene={
            "xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data",
            "camera": {"eye": eye, "projection": {"type": "orthographic"}},
        },
    )  # fmt: skip
    return figure


def _cell(lattice: np.ndarray) -> go.Scatter3d:
    """The twelve edges as one line with gaps."""
    points: list[np.ndarray] = []
    gap = np.full(3, np.nan)
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        for a, b in product((0, 1), repeat=2):
            start = a * lattice[others[0]] + b * lattice[others[1]]
            points += [start, start + lattice[axis], gap]
    x, y, z = np.array(points).T
    line = {"color": "#555", "width": 3}
    return go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, showlegend=False, hoverinfo="skip")


def with_images(crystal: Crystal, edge: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Return all atoms to draw: those of the cell, and the images of those on its border.

    Args:
        crystal: Crystal with N atoms.
        edge: Distance to a face, in units of the cell, up to which an atom counts as on it.

    Returns:
        Fractional coordinates (M, 3) from 0 to 1 + edge, and atomic numbers (M,); M >= N.
    """
    frac = crystal.frac_coords % 1.0
    frac = np.where(frac > 1 - edge / 2, frac - 1, frac)
    out, numbers = [], []
    for shift in product((0, 1), repeat=3):
        moved = frac + np.array(shift)
        seen = (moved <= 1 + edge).all(1)
        out.append(moved[seen])
        numbers.append(crystal.atomic_numbers[seen])
    return np.concatenate(out), np.concatenate(numbers)
