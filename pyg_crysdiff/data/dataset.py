"""Crystals as a PyG ``InMemoryDataset``, from a user's own files.

The way of the data: source file -> :mod:`parsing` (parallel, bad entries reported) -> one
``parsed/*.npz`` per file with float64 arrays -> split -> ``Data`` objects -> ``processed/*.pt``.
The names of both caches carry a digest of the file's content and of all options, so that a
changed file or option is never served from an old cache.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch_geometric.data import Data, InMemoryDataset

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.parsed import load_parsed, save_parsed
from pyg_crysdiff.data.parsing import convert_entries, read_entries
from pyg_crysdiff.platform import cache_folder

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
_FORMAT = 1


class CrystalDataset(InMemoryDataset):
    """A user's own crystals: a CSV with a CIF column or a folder of structure files.

    One ``Data`` per crystal with ``atomic_numbers`` (N,), ``frac_coords`` (N, 3) in [0, 1),
    ``lattice`` (1, 3, 3) as rows in Angstrom, ``num_atoms`` (1,), every property as a tensor of
    shape (1,), ``material_id`` and ``row`` (number of the entry in its file). Cells are
    Niggli-reduced and in pymatgen's standard orientation.

    A folder that holds ``train.csv``, ``val.csv`` and ``test.csv`` (or ``.csv.gz``) is taken as
    split; a single file or folder of structures is split by ``fractions`` at random.

    Args:
        root: Cache folder; None for a folder in the user's cache.
        split: ``train``, ``val``, ``test`` or ``all``.
        transform: Applied at every access.
        pre_transform: Applied once before the data are cached.
        pre_filter: Keeps the data for which it returns True.
        force_reload: Parse again.
        path: The CSV file or folder.
        properties: Names of the scalar properties; None for all numeric columns. The first is
            the one that models are conditioned on unless told otherwise.
        cif_column: Column with CIF text; None to find it.
        fractions: Shares of train, val and test where one source is split.
        seed: Seed of that split.
        strict: Raise at the first bad entry instead of reporting it in ``broken``.
        niggli: Reduce cells.
        primitive: Reduce to primitive cells first.
        num_workers: Processes for parsing; None for all cores.

    Attributes:
        broken: Entries of the source that could not be read, with their reasons.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If a column is missing, no entry is readable, or ``strict`` and one is not.
    """

    property_name: str | None = None
    success_thresholds: tuple[float, float, float] | None = None
    coverage_cutoffs: ClassVar[dict[str, tuple[float, float]]] = {}

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        force_reload: bool = False,
        *,
        path: str | Path,
        properties: Sequence[str] | None = None,
        cif_column: str | None = None,
        fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
        seed: int = 0,
        strict: bool = False,
        niggli: bool = True,
        primitive: bool = False,
        num_workers: int | None = None,
    ) -> None:
        if split not in (*SPLITS, "all"):
            raise ValueError(f"split must be one of {(*SPLITS, 'all')}, got {split!r}")
        self.path, self.split = Path(path).expanduser().resolve(), split
        self._wanted = None if properties is None else list(properties)
        self._cif_column, self._fractions, self._seed = cif_column, fractions, seed
        self._strict, self._workers = strict, num_workers
        self._reduce = {"niggli": niggli, "primitive": primitive}
        self._finish(root, transform, pre_transform, pre_filter, force_reload)

    def _finish(
        self,
        root: str | Path | None,
        transform: Callable[[Data], Data] | None,
        pre_transform: Callable[[Data], Data] | None,
        pre_filter: Callable[[Data], bool] | None,
        force_reload: bool,
    ) -> None:
        self.broken: list[BrokenEntry] = []
        self._force = force_reload
        name = self._default_folder()
        super().__init__(
            str(root or cache_folder() / name),
            transform,
            pre_transform,
            pre_filter,
            log=False,
            force_reload=force_reload,
        )
        self.load(self.processed_paths[0])
        self._records, names, self.broken = load_parsed(Path(self.processed_paths[1]))
        self.property_names: list[str] = names
        if self.property_name is None and names:
            self.property_name = names[0]

    # What a subclass with other sources replaces.

    @property
    def display_name(self) -> str:
        """Name for tables."""
        return self.path.stem.removesuffix(".csv")

    @property
    def split_description(self) -> str:
        """How the data are split, for tables."""
        if self._own_split_file("train"):
            return "as given"
        shares = "/".join(f"{100 * f:g}" for f in self._fractions)
        return f"random {shares}, seed {self._seed}"

    def _default_folder(self) -> str:
        return "own"

    def _source(self) -> Path:
        return self._own_split_file(self.split) or self.path

    def _select(self, count: int, rows: np.ndarray) -> np.ndarray:
        """Return the positions of this split among the readable entries of the source."""
        del rows
        if self.split == "all" or self._own_split_file(self.split):
            return np.arange(count)
        return random_split(count, self._fractions, self._seed)[SPLITS.index(self.split)]

    def _parse(self) -> tuple[list[Crystal], list[str], list[BrokenEntry]]:
        source = self._source()
        entries, names = read_entries(source, self._wanted, self._cif_column)
        crystals, broken = convert_entries(
            entries, **self._reduce, num_workers=self._workers, label=f"reading {source.name}"
        )
        return crystals, names, broken

    # PyG's dataset protocol.

    @property
    def raw_file_names(self) -> list[str]:
        """No raw files of our own: the user's file stays where it is."""
        return []

    @property
    def processed_file_names(self) -> list[str]:
        """Data of the split, and the parsed arrays of its crystals in double precision."""
        key = self._key()
        return [f"{self.split}-{key}.pt", f"{self.split}-{key}.npz"]

    def process(self) -> None:
        """Parse the source (or take its parsed arrays), select the split, write the cache."""
        whole = Path(self.root) / "parsed" / f"{self._key(of_split=False)}.npz"
        if whole.is_file() and not self._force:
            crystals, names, broken = load_parsed(whole)
        else:
            crystals, names, broken = self._parse()
            whole.parent.mkdir(parents=True, exist_ok=True)
            save_parsed(whole, crystals, names, broken)
        self._report(broken, len(crystals))
        rows = np.array([c.info["row"] for c in crystals])
        chosen = [crystals[i] for i in self._select(len(crystals), rows)]
        kept, data = [], []
        for crystal in chosen:
            item = crystal.to_data(**{name: crystal.info[name] for name in names})
            item.material_id, item.row = crystal.info["material_id"], crystal.info["row"]
            if self.pre_filter is not None and not self.pre_filter(item):
                continue
            data.append(item if self.pre_transform is None else self.pre_transform(item))
            kept.append(crystal)
        if not data:
            raise ValueError(f"the {self.split} split of {self._source()} has no crystals")
        save_parsed(Path(self.processed_paths[1]), kept, names, broken)
        self.save(data, self.processed_paths[0])

    def crystals(self) -> list[Crystal]:
        """Return the crystals in double precision, with identifier and properties in ``info``.

        Respects subsets (``dataset[:100]``); transforms are not applied.
        """
        return [self._records[i] for i in self.indices()]

    def _report(self, broken: Sequence[BrokenEntry], readable: int) -> None:
        lines = [f"  {b.source}: {b.reason}" for b in broken]
        if broken and self._strict:
            raise ValueError("bad entry (strict):\n" + lines[0])
        if not readable:
            detail = "\n".join(lines[:5])
            raise ValueError(f"no readable crystal in {self._source()}:\n{detail}")
        if broken:
            shown = "\n".join(lines[:10] + ["  ..."] * (len(lines) > 10))
            log.warning(
                "%d of %d entries of %s were skipped:\n%s",
                len(broken), len(broken) + readable, self._source(), shown,
            )  # fmt: skip

    def _own_split_file(self, split: str) -> Path | None:
        if not self.path.is_dir():
            return None
        found = [find_table(self.path, name) for name in SPLITS]
        if not all(found):
            return None
        return found[SPLITS.index(split)] if split in SPLITS else None

    def _key(self, of_split: bool = True) -> str:
        facts: dict[str, Any] = {
            "format": _FORMAT,
            "content": content_digest(self._source()),
            "properties": self._wanted,
            "cif_column": self._cif_column,
            "reduce": self._reduce,
        }
        if of_split:
            facts["split"] = [self.split, self.split_description]
            facts["pre"] = [repr(self.pre_transform), repr(self.pre_filter)]
            facts["strict"] = self._strict
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def random_split(
    count: int, fractions: Sequence[float], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a seeded permutation of 0..count-1 into train, val and test; each sorted.

    Raises:
        ValueError: If the fractions do not add up to 1.
    """
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) < 0:
        raise ValueError(f"fractions must be positive and add up to 1, got {tuple(fractions)}")
    order = np.random.default_rng(seed).permutation(count)
    ends = np.round(np.cumsum(fractions) * count).astype(int)
    train, val, test = np.split(order, ends[:2])
    return np.sort(train), np.sort(val), np.sort(test)


def find_table(folder: Path, name: str) -> Path | None:
    """Return ``folder/name.csv`` or ``folder/name.csv.gz``, whichever there is."""
    for suffix in (".csv", ".csv.gz"):
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    return None


def content_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files in a folder with their names.

    Raises:
        FileNotFoundError: If the path does not exist.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}")
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
