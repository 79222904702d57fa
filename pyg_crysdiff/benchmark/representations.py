"""Where samples lie among the test crystals, in two principal components of representations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
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
    chosen = {name: _choose(entries, rng) for name, entries in samples.items()}
    shown = _choose(test, rng)
    elements = {
        int(z) for part in (shown, *chosen.values()) for c in part for z in c.atomic_numbers
    }
    representation = Representation(sorted(elements), **load_table("descriptor/compact.yaml"))
    reference = _represent(representation, shown)
    scaler = StandardScaler().fit(reference)
    pca = PCA(2, random_state=seed).fit(scaler.transform(reference))
    share = pca.explained_variance_ratio_
    with mpl.rc_context(STYLE):
        panels = max(1, len(chosen))
        figure = Figure(figsize=(3.4 * min(panels, 3), 3.2 * -(-panels // 3)))
        axes = np.atleast_1d(
            figure.subplots(-(-panels // 3), min(panels, 3), squeeze=False)
        ).ravel()
        background = pca.transform(scaler.transform(reference))
        low, high = np.quantile(background, [0.002, 0.998], axis=0)
        pad = 0.25 * (high - low)
        for k, (name, crystals) in enumerate(chosen.items()):
            axes[k].scatter(*background.T, s=6, color="#b8bec8", lw=0, label="test")
            if crystals:
                points = pca.transform(scaler.transform(_represent(representation, crystals)))
                axes[k].scatter(
                    *points.T, s=6, color=COLOURS[1], lw=0, alpha=0.6, label="generated"
                )
            axes[k].set_title(name, fontsize=9)
            axes[k].set(
                xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1])
            )
        for unused in axes[len(chosen) :]:
            unused.set_visible(False)
        axes[0].legend(fontsize=8, markerscale=2)
        axes[0].set(xlabel=f"PC 1 ({share[0]:.0%})", ylabel=f"PC 2 ({share[1]:.0%})")
        figure.tight_layout()
        with replacing(path) as file:
            figure.savefig(file, dpi=150)
    return path


def _choose(entries: Sequence[Crystal | BrokenEntry], rng: np.random.Generator) -> list[Crystal]:
    valid = [c for c in entries if isinstance(c, Crystal) and structural_problem(c) is None]
    order = rng.permutation(len(valid))[:_MOST]
    return [valid[k] for k in np.sort(order)]


def _represent(representation: Representation, crystals: Sequence[Crystal]) -> NDArray[np.float64]:
    rows = [
        representation(Batch.from_data_list([c.to_data() for c in crystals[k : k + _CHUNK]]))
        for k in range(0, len(crystals), _CHUNK)
    ]
    return np.concatenate([row.double().numpy() for row in rows])
