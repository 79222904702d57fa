"""The data sets of the field by name: Perov-5, Carbon-24, MP-20, and the bundled demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch_geometric.data import Data

from pyg_crysdiff.data.bundled import Demo
from pyg_crysdiff.data.dataset import CrystalDataset
from pyg_crysdiff.data.download import fetch
from pyg_crysdiff.data.names import DATASET_NAMES
from pyg_crysdiff.data.provenance import PublishedFile, differences
from pyg_crysdiff.data.splits import find_table, random_split, split_note
from pyg_crysdiff.storage import user_path

SCHEMES = ("official", "val-as-train")
_COMMIT = "f857f598d6f6cca5dc1ea0582d228f12dcc2c2ea"


class _Published(CrystalDataset):
    """A data set of the CDVAE repository.

    Files that differ from the published ones are taken as they are; ``split_description`` then
    says which differ, and so do all results, reports and checkpoint cards.

    Args:
        root: Folder of raw files and caches; None for a folder in the user's cache.
        split: ``train``, ``val``, ``test`` or ``all`` (the file that holds the train split).
        transform: Applied at every access.
        pre_transform: Applied once when the data set is opened.
        pre_filter: Keeps the data for which it returns True.
        force_reload: Parse again.
        scheme: ``official`` (the published files), or ``val-as-train``, which needs no
            train.csv: the official val file, 90/10 by a permutation of seed 0, is train and
            val; the official test file is test.
        source: Folder that already holds the files, directly or in a folder of the data set's
            name, as ``.csv`` or ``.csv.gz``; None downloads them.
        folder: Name of that folder where it differs.
        strict: See :class:`CrystalDataset`.
        num_workers: See :class:`CrystalDataset`.

    Raises:
        FileNotFoundError: If ``source`` lacks a file.
        ConnectionError: If a download fails; says which files to put where.
    """

    title: str
    folder_name: str
    columns: tuple[str, ...]
    blobs: ClassVar[dict[str, str]]
    rows: ClassVar[dict[str, int]]
    url = f"https://raw.githubusercontent.com/txie-93/cdvae/{_COMMIT}/data"

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        force_reload: bool = False,
        *,
        scheme: str = "official",
        source: str | Path | None = None,
        folder: str | None = None,
        strict: bool = False,
        num_workers: int | None = None,
    ) -> None:
        if scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {SCHEMES}, got {scheme!r}")
        if split not in ("train", "val", "test", "all"):
            raise ValueError(f"split must be train, val, test or all, got {split!r}")
        self.split, self.scheme = split, scheme
        self.source = None if source is None else user_path(source).resolve()
        self.folder = folder or self.folder_name
        self._wanted, self._cif_column = list(self.columns), "cif"
        self._strict, self._workers = strict, num_workers
        self._reduce = {"niggli": True, "primitive": False}
        self._split_text = ""  # found when somebody asks
        self._finish(root, transform, pre_transform, pre_filter, force_reload)

    @property
    def display_name(self) -> str:
        """Name for tables."""
        return self.title

    @property
    def split_description(self) -> str:
        """The scheme, and what differs in the files at hand from the published ones.

        ``official``, ``official, 23,474 of 27,136 training crystals``, ``official, train.csv
        differs from the published file``; the training file comes first. Every part says it of
        all the files that its scheme uses. A folder that names its own split (``split.txt``) has
        that name instead.
        """
        note = split_note(Path(self.raw_dir))
        if note is not None:
            return note if self.scheme == "official" else f"{self.scheme} of {note}"
        if not self._split_text:
            parts = [p for p in self.blobs if p != "train" or self.scheme == "official"]
            published = {p: PublishedFile(self.blobs[p], self.rows[p]) for p in parts}
            found = differences(Path(self.raw_dir), published, Path(self.root) / "parsed")
            self._split_text = ", ".join([self.scheme, *found])
        return self._split_text

    def _default_folder(self) -> str:
        return self.folder

    @property
    def raw_dir(self) -> str:
        """Folder of the CSV files."""
        if self.source is None:
            return str(Path(self.root) / "raw")
        inner = self.source / self.folder
        return str(inner if inner.is_dir() else self.source)

    def _file(self) -> str:
        if self.scheme == "val-as-train" and self.split != "test":
            return "val"
        return "train" if self.split == "all" else self.split

    @property
    def raw_file_names(self) -> list[str]:
        """The one file that this split needs."""
        found = find_table(Path(self.raw_dir), self._file())
        return [found.name if found else f"{self._file()}.csv"]

    def _sources(self) -> list[Path]:
        return [Path(self.raw_paths[0])]

    def _select(self, count: int, rows: np.ndarray) -> np.ndarray:
        del rows
        if self.scheme == "official" or self.split in ("test", "all"):
            return np.arange(count)
        train, val, _ = random_split(count, (0.9, 0.1, 0.0), 0)
        return train if self.split == "train" else val

    def download(self) -> None:
        """Fetch the file of this split from the official repository and verify it.

        Raises:
            FileNotFoundError: If a ``source`` was given, which is never written to.
            ConnectionError: If there is no network.
        """
        name = f"{self._file()}.csv"
        if self.source is not None:
            raise FileNotFoundError(
                f"{name} (or {name}.gz) of {self.title} is neither in {self.source} nor in "
                f"{self.source / self.folder}"
            )
        try:
            fetch(
                f"{self.url}/{self.folder_name}/{name}",
                Path(self.raw_dir) / name,
                self.blobs[self._file()],
            )
        except ConnectionError as error:
            raise ConnectionError(
                f"{error}\n{self.title} needs the file {name}. Without network, copy "
                f"data/{self.folder_name}/{name} of github.com/txie-93/cdvae to {self.raw_dir}, "
                "or name the folder that holds it as data root (source)."
            ) from error


class Perov5(_Published):
    """Perov-5: 18,928 cubic perovskites ABX3 (Castelli 2012); heat_ref in eV/atom.

    Its three files together are the whole enumeration, so that the value of nearly every generated
    crystal of this kind is known.
    """

    title, folder_name = "Perov-5", "perov_5"
    columns = ("heat_ref", "heat_all", "dir_gap", "ind_gap")
    property_name = "heat_ref"
    cdvae_evaluator = "perovskite"
    success_thresholds = (0.43924842, 0.61202443, 0.7364607)
    coverage_cutoffs: ClassVar = {"cdvae": (0.2, 4.0), "symat": (0.8, 6.0)}
    space_size = 18_928
    blobs: ClassVar = {
        "train": "0769074b5d51d293b765c4371b8f55c468c9c9f2",
        "val": "4a2c8dde98347dd0e01fa83dcf3982c2abe98f9f",
        "test": "d3c5d5af4b27a2a139149f2bb73c8a3dba9d8ac1",
    }
    rows: ClassVar = {"train": 11356, "val": 3787, "test": 3785}


class Carbon24(_Published):
    """Carbon-24: 10,153 carbon crystals of 6 to 24 atoms (Pickard 2020); energy in eV/atom."""

    title, folder_name = "Carbon-24", "carbon_24"
    columns = ("energy_per_atom",)
    property_name = "energy_per_atom"
    cdvae_evaluator = "carbon"
    success_thresholds = (-154.527093, -154.45865733, -154.44206825)
    coverage_cutoffs: ClassVar = {"cdvae": (0.2, 4.0), "symat": (1.0, 4.0)}
    blobs: ClassVar = {
        "train": "5e7ae970fbad8ddc46b6963e8cd6e425f11783a6",
        "val": "b3e29b927883642426ca1d9632d00359b412742b",
        "test": "9beca843fde489de1fe288b32f9e3ff710d42803",
    }
    rows: ClassVar = {"train": 6091, "val": 2032, "test": 2030}


class MP20(_Published):
    """MP-20: 45,231 crystals of up to 20 atoms from the Materials Project; eV/atom.

    With ``folder="mp_20_biternary"`` (found by itself where ``source`` holds only that one) it
    is the binary and ternary part, and named so. The success thresholds are those of the whole
    set, also then.
    """

    title, folder_name = "MP-20", "mp_20"
    columns = ("formation_energy_per_atom", "band_gap", "e_above_hull")
    property_name = "formation_energy_per_atom"
    cdvae_evaluator = "mp20"
    success_thresholds = (-3.17562208, -2.82196882, -2.52814761)
    coverage_cutoffs: ClassVar = {"cdvae": (0.4, 10.0), "symat": (0.6, 12.0)}
    part = "mp_20_biternary"
    blobs: ClassVar = {
        "train": "b1c9d498565ac2fd8d075a51ff2ef5e51ba6c21f",
        "val": "7efe4d7ebeb4f460ceaad35e5326c42111d9c9a1",
        "test": "5dc643041df53f5ce4970a79930ad262b4f07acd",
    }
    rows: ClassVar = {"train": 27136, "val": 9047, "test": 9046}

    def __init__(self, *args: Any, **options: Any) -> None:
        source = options.get("source")
        if source is not None and options.get("folder") is None:
            folder = user_path(source)
            if not (folder / self.folder_name).is_dir() and (folder / self.part).is_dir():
                options["folder"] = self.part
        super().__init__(*args, **options)

    @property
    def display_name(self) -> str:
        """Name for tables; says when it is a part."""
        part = Path(self.raw_dir).name == self.part
        return f"{self.title}, binary and ternary" if part else self.title


_CLASSES: tuple[type[CrystalDataset], ...] = (Demo, Carbon24, Perov5, MP20)
DATASETS = dict(zip(DATASET_NAMES, _CLASSES, strict=True))


def load_dataset(name: str | Path, split: str = "train", **options: Any) -> CrystalDataset:
    """Open a data set by name, or a user's own CSV file or folder.

    Args:
        name: ``demo``, ``carbon24``, ``perov5``, ``mp20``, or a path.
        split: ``train``, ``val``, ``test`` or ``all``.
        **options: Arguments of the class, e.g. ``source`` and ``scheme`` for the published sets,
            ``properties`` for own files.

    Raises:
        ValueError: If it is neither a name nor a path, or the class has no such option.
    """
    cls = DATASETS.get(str(name)) or (CrystalDataset if user_path(name).exists() else None)
    if cls is None:
        raise ValueError(f"no data set {str(name)!r}; known are {sorted(DATASETS)} and paths")
    place: dict[str, Any] = {"path": name} if cls is CrystalDataset else {}
    try:
        opened = cls(split=split, **place, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ValueError(f"data set {str(name)!r}: {error}") from error
    opened.origin = {"name": str(name), **options}
    return opened
