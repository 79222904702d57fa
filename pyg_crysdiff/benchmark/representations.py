"""Where samples lie among the test crystals, in two principal components of representations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch_geometric.data import Batch

from pyg_crysdiff.benchmark.plots import COLOURS, STYLE
from pyg_crysdiff.configuration import load_table
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.storage import replacing
from pyg_crysdiff.structrepdiff.representation import Representation

_MOST = 500
_CHUNK = 64


@dataclass(frozen=True)
class Plane:
    """The plane of the first two principal components of representations of test crystals.

    Attributes:
        representation: Descriptor ``compact``, with the elements of all that is to be shown.
        scaler: Mean and spread of every entry over the test crystals.
        pca: Their two components.
    """

    representation: Representation
    scaler: StandardScaler
    pca: PCA

    @classmethod
    def of(cls, test: Sequence[Crystal], others: Sequence[Crystal], seed: int = 0) -> Plane:
        """Lay the plane through test crystals.

        Args:
            test: The crystals that decide it.
            others: Crystals whose elements have a place in the representation too.
            seed: Seed of the components.
        """
        elements = sorted({int(z) for c in (*test, *others) for z in c.atomic_numbers})
        representation = Representation(elements, **load_table("descriptor/compact.yaml"))
        rows = _represent(representation, test)
        scaler = StandardScaler().fit(rows)
        return cls(representation, scaler, PCA(2, random_state=seed).fit(scaler.transform(rows)))

    @property
    def share(self) -> list[float]:
        """Share of the test crystals' variance along each axis."""
        found: list[float] = self.pca.explained_variance_ratio_.tolist()
        return found

    def points(self, crystals: Sequence[Crystal]) -> NDArray[np.float64]:
        """Return where crystals lie, (M, 2)."""
        if not crystals:
            return np.zeros((0, 2))
        rows = self.scaler.transform(_represent(self.representation, crystals))
        return np.asarray(self.pca.transform(rows), dtype=np.float64)


def chosen_valid(
    entries: Sequence[Crystal | BrokenEntry], most: int, rng: np.random.Generator
) -> list[Crystal]:
    """Return at most so many structurally valid crystals, drawn at random, in their order."""
    valid = [c for c in entries if isinstance(c, Crystal) and structural_problem(c) is None]
    order = rng.permutation(len(valid))[:most]
    return [valid[k] for k in np.sort(order)]


def draw_representations(
    path: Path,
    test: Sequence[Crystal],
    samples: Mapping[str, Sequence[Crystal | BrokenEntry]],
    seed: int = 0,
) -> Path:
    """Draw the first two principal components of representations (arXiv 2408.07213, fig. 5).

    Axes are those of the test crystals, standardised; of each set at most 500 structurally valid
    crystals are drawn.

    Args:
        path: PNG file to write.
        test: Test crystals.
        samples: Method to its samples.
        seed: Seed of the choice of crystals.
    """
    rng = np.random.default_rng(seed)
    chosen = {name: chosen_valid(entries, _MOST, rng) for name, entries in samples.items()}
    shown = chosen_valid(test, _MOST, rng)
    plane = Plane.of(shown, [c for crystals in chosen.values() for c in crystals], seed)
    background = plane.points(shown)
    with mpl.rc_context(STYLE):
        panels = max(1, len(chosen))
        rows, columns = -(-panels // 3), min(panels, 3)
        figure = Figure(figsize=(3.4 * columns, 3.2 * rows))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, (name, crystals) in zip(axes, chosen.items(), strict=False):
            draw_points(panel, background, plane.points(crystals), COLOURS[1])
            panel.set_title(name, fontsize=9)
        for unused in axes[len(chosen) :]:
            unused.set_visible(False)
        axes[0].legend(fontsize=8, markerscale=2)
        axes[0].set(xlabel=f"PC 1 ({plane.share[0]:.0%})", ylabel=f"PC 2 ({plane.share[1]:.0%})")
        figure.tight_layout()
        with replacing(path) as file:
            figure.savefig(file, dpi=150)
    return path


def draw_points(
    panel: Axes, test: NDArray[np.float64], points: NDArray[np.float64], colour: str
) -> None:
    """Draw generated crystals over test crystals, the frame around the latter.

    Args:
        panel: Where to draw.
        test: Points of test crystals, (M, 2).
        points: Points of generated ones, (K, 2).
        colour: Colour of the latter.
    """
    low, high = np.quantile(test, [0.002, 0.998], axis=0)
    pad = 0.25 * (high - low)
    panel.scatter(test[:, 0], test[:, 1], s=6, color="#b8bec8", lw=0, label="test")
    panel.scatter(points[:, 0], points[:, 1], s=6, color=colour, lw=0, alpha=0.6, label="generated")
    panel.set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))


def _represent(representation: Representation, crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    rows = [
        representation(Batch.from_data_list([c.to_data() for c in crystals[k : k + _CHUNK]]))
        for k in range(0, len(crystals), _CHUNK)
    ]
    return np.concatenate([row.double().numpy() for row in rows])
