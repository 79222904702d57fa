"""The data set that comes with the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from torch_geometric.data import Data

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.dataset import CrystalDataset
from pyg_crysdiff.data.parse_cache import Parsed


class Demo(CrystalDataset):
    """The bundled demo: cubic perovskites ABX3 with CHGNet cell and formation energy (eV/atom).

    Not Perov-5 and not DFT; see ``DATA_CARD.md`` beside the file. The split stands in the file.

    Args:
        root: Cache folder; None for a folder in the user's cache.
        split: ``train``, ``val``, ``test`` or ``all``.
        transform: Applied at every access.
        pre_transform: Applied once when the data set is opened.
        pre_filter: Keeps the data for which it returns True.
        force_reload: Build again.
    """

    property_name = "formation_energy_per_atom"
    coverage_cutoffs: ClassVar = {"cdvae": (0.2, 4.0), "symat": (0.8, 6.0)}
    file = Path(__file__).parent / "demo" / "perovskites.csv"

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        force_reload: bool = False,
    ) -> None:
        super().__init__(
            root,
            split,
            transform,
            pre_transform,
            pre_filter,
            force_reload,
            path=self.file,
            properties=[self.property_name],
        )

    @property
    def display_name(self) -> str:
        """Name for tables."""
        return "demo (CHGNet perovskites)"

    @property
    def split_description(self) -> str:
        """Where the split comes from."""
        return "bundled"

    def _default_folder(self) -> str:
        return "demo"

    def _parse(self, source: Path) -> Parsed:
        from pymatgen.core import Composition, Element  # noqa: PLC0415

        frac = np.array([[0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]]) / 2
        crystals = []
        name = str(self.property_name)
        entries = pd.read_csv(source).to_dict("records")
        for row, entry in enumerate(entries):
            a_site, b_site, x_site = (Element(e.symbol).Z for e in Composition(entry["formula"]))
            info = {"material_id": entry["material_id"], "row": row, name: entry[name]}
            numbers = [a_site, b_site, x_site, x_site, x_site]
            crystals.append(Crystal(entry["a"] * np.eye(3), frac, np.array(numbers), info))
        ids = [entry["material_id"] for entry in entries]
        return Parsed(crystals, ids, range(len(entries)), [name], {}, [])

    def _select(self, count: int, rows: np.ndarray) -> np.ndarray:
        if self.split == "all":
            return np.arange(count)
        split = pd.read_csv(self.file)["split"].to_numpy()[rows]
        return np.flatnonzero(split == self.split)
