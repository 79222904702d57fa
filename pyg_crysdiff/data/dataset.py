"""Crystals as a PyG ``InMemoryDataset``, from a user's own files.

The way of the data: source file -> :mod:`parsing` (parallel, bad entries reported) -> one
``parsed/*.npz`` per file with float64 arrays -> split -> ``Data`` objects in memory. The name of
that cache carries a digest of the file's content and of all options, so that a changed file or
option is never served from an old cache. It holds arrays and JSON alone: nothing in it is executed
(PyG's own cache of ``processed/*.pt`` is unpickled, and is not used for that reason).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch.utils.data import ConcatDataset
from torch_geometric.data import Data, InMemoryDataset

import pyg_crysdiff
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.parse_cache import Parsed, load_parsed, save_parsed
from pyg_crysdiff.data.parsing import convert_entries, read_entries
from pyg_crysdiff.data.properties import common_names
from pyg_crysdiff.data.splits import SPLITS, random_split, split_files
from pyg_crysdiff.data.target import no_targets
from pyg_crysdiff.platform import cache_folder
from pyg_crysdiff.storage import content_digest, facts_digest, user_path

log = logging.getLogger(__name__)
_FORMAT = 2


class CrystalDataset(InMemoryDataset):
    """A user's own crystals: a CSV with a CIF column or a folder of structure files.

    One ``Data`` per crystal with ``atomic_numbers`` (N,), ``frac_coords`` (N, 3) in [0, 1),
    ``lattice`` (1, 3, 3) as rows in Angstrom, ``num_atoms`` (1,), ``properties`` (1, P) in the
    order of ``property_names``, NaN where there is no value (read by
    :func:`pyg_crysdiff.data.property_of`), ``material_id`` and ``row`` (number of the entry in its
    file). Cells are Niggli-reduced and in pymatgen's standard orientation.

    A folder that holds ``train.csv`` and ``val.csv`` or ``test.csv`` (or ``.csv.gz``) is taken as
    split; a single file or folder of structures is split by ``fractions`` at random. A validation
    set may be empty.

    Args:
        root: Cache folder; None for a folder in the user's cache.
        split: ``train``, ``val``, ``test`` or ``all``.
        transform: Applied at every access.
        pre_transform: Applied once when the data set is opened.
        pre_filter: Keeps the data for which it returns True.
        force_reload: Parse again.
        path: The CSV file or folder.
        properties: Names of the scalar properties, all of them targets; None for all numeric
            columns, of which the first that is neither a label nor a count is the target.
        cif_column: Column with CIF text; None to find it.
        fractions: Shares of train, val and test where one source is split.
        seed: Seed of that split.
        strict: Raise at the first bad entry instead of reporting it in ``broken``.
        niggli: Reduce cells.
        primitive: Reduce to primitive cells first.
        num_workers: Processes for parsing; None for all cores.

    Attributes:
        property_names: All properties.
        property_name: The target of benchmarks and evaluators; None without properties.
        left_out: Columns that are not among the targets, with the reason.
        broken: Entries of the source that could not be read, with their reasons.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If a column is missing, no entry is readable, a training or test set is empty,
            or ``strict`` and an entry is bad.
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
        properties: Sequence[str] | str | None = None,
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
        self.path, self.split = user_path(path).resolve(), split
        named = [properties] if isinstance(properties, str) else properties
        self._wanted = None if named is None else list(dict.fromkeys(named))
        self._cif_column, self._fractions, self._seed = cif_column, tuple(fractions), seed
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
        self._force = force_reload
        folder = str(root or cache_folder() / self._default_folder())
        super().__init__(folder, transform, pre_transform, pre_filter, log=False)
        parts = [self._parsed(source) for source in self._sources()]
        self.broken: list[BrokenEntry] = [entry for part in parts for entry in part.broken]
        names = common_names([part.names for part in parts]) if parts else self._wanted or []
        self.property_names: list[str] = names
        self._choose_target(parts, names)
        self._take(parts)

    def _choose_target(self, parts: Sequence[Parsed], names: Sequence[str]) -> None:
        self.left_out: dict[str, str] = {}
        for part in parts:
            self.left_out |= part.left_out
        if self._wanted is None:
            for part in parts:
                self.left_out |= no_targets(part.names, part.crystals, part.rows)
        self._of_class = self.property_name is not None
        if not self._of_class:
            open_ones = [name for name in names if name not in self.left_out]
            self.property_name = open_ones[0] if open_ones else None

    def _take(self, parts: Sequence[Parsed]) -> None:
        """Keep the crystals of this split, in double precision and as ``Data``."""
        self._records: list[Crystal] = []
        data: list[Data] = []
        for part in parts:
            for i in self._select(len(part.crystals), np.array(part.rows)):
                crystal = part.crystals[i]
                item = crystal.to_data({name: crystal.info[name] for name in part.names})
                item.material_id, item.row = part.ids[i], part.rows[i]
                if self.pre_filter is not None and not self.pre_filter(item):
                    continue
                data.append(item if self.pre_transform is None else self.pre_transform(item))
                self._records.append(crystal)
        if not data and self.split != "val":
            raise ValueError(self._nothing_left(sum(len(part.crystals) for part in parts)))
        self.data, self.slices = self.collate(data) if data else (Data(), {})

    @property
    def targets(self) -> list[str]:
        """What a model is conditioned on unless told otherwise: the named properties, or one."""
        if self._wanted is not None and not self._of_class:
            return list(self.property_names)
        return [] if self.property_name is None else [self.property_name]

    # What a subclass with other sources replaces.

    @property
    def display_name(self) -> str:
        """Name for tables."""
        return self.path.stem.removesuffix(".csv")

    @property
    def split_description(self) -> str:
        """How the data are split, for tables."""
        if split_files(self.path):
            return "as given"
        shares = "/".join(f"{100 * f:g}" for f in self._fractions)
        return f"random {shares}, seed {self._seed}"

    def _default_folder(self) -> str:
        return "own"

    def _sources(self) -> list[Path]:
        """Return the files or folder that this split is read from; none for no validation set.

        Raises:
            FileNotFoundError: If the path is split by files and lacks this one.
        """
        files = split_files(self.path)
        if not files:
            return [self.path]
        if self.split == "all":
            return list(files.values())
        if self.split == "test" and "test" not in files:
            raise FileNotFoundError(
                f"{self.path} is split into {sorted(f.name for f in files.values())} and has no "
                "test.csv; add one, or choose another part"
            )
        return [files[self.split]] if self.split in files else []

    def _select(self, count: int, rows: np.ndarray) -> np.ndarray:
        """Return the positions of this split among the readable entries of a source."""
        del rows
        if self.split == "all" or split_files(self.path):
            return np.arange(count)
        return random_split(count, self._fractions, self._seed)[SPLITS.index(self.split)]

    def _parse(self, source: Path) -> Parsed:
        """Read all entries of a source."""
        try:
            found = read_entries(source, self._wanted, self._cif_column)
        except ValueError as error:
            if any("," in name for name in self._wanted or []):
                raise ValueError(f"{error}; several are written properties=[one,two]") from error
            raise
        crystals, broken = convert_entries(
            found.entries, **self._reduce, num_workers=self._workers, label=f"reading {source.name}"
        )
        lost = {entry.index for entry in broken}
        kept = [entry for i, entry in enumerate(found.entries) if i not in lost]
        ids, rows = [entry.material_id for entry in kept], [entry.row for entry in kept]
        return Parsed(crystals, ids, rows, found.names, found.left_out, broken)

    # PyG's dataset protocol.

    @property
    def raw_file_names(self) -> list[str]:
        """No raw files of our own: the user's file stays where it is."""
        return []

    @property
    def processed_file_names(self) -> list[str]:
        """Nothing that PyG would read."""
        return []

    def copy(self, idx: Any = None) -> Self:
        """Return a deep copy of the data set, or of the part that an index selects."""
        part = self if idx is None else self.index_select(idx)
        out = super().copy(idx)
        assert isinstance(part, CrystalDataset)
        assert isinstance(out, type(self))
        out._records = part.crystals()
        return out

    def __add__(self, other: Any) -> ConcatDataset[Any]:
        """Return both data sets, one after the other.

        Raises:
            ValueError: If their properties are not the same.
        """
        common_names([self.property_names, getattr(other, "property_names", self.property_names)])
        return super().__add__(other)

    def crystals(self) -> list[Crystal]:
        """Return the crystals in double precision, with identifier and properties in ``info``.

        Respects subsets (``dataset[:100]``); transforms are not applied.
        """
        return [self._records[i] for i in self.indices()]

    def _parsed(self, source: Path) -> Parsed:
        """Take the parsed arrays of a source from the cache, or parse it and keep them there."""
        file = Path(self.root) / "parsed" / f"{self._key(source)}.npz"
        parsed = None if self._force else load_parsed(file)
        if parsed is None:
            parsed = self._parse(source)
            try:
                save_parsed(file, parsed)
            except OSError as error:
                _warn_once(
                    f"the parsed crystals cannot be kept, the next run parses again: {error}"
                )
        self._report(source, parsed)
        return parsed

    def _report(self, source: Path, parsed: Parsed) -> None:
        broken, readable = parsed.broken, len(parsed.crystals)
        lines = [f"  {b.source}: {b.reason}" for b in broken]
        if broken and self._strict:
            raise ValueError("bad entry (strict):\n" + lines[0])
        if not readable:
            detail = "\n".join(lines[:5])
            raise ValueError(f"no readable crystal in {source}:\n{detail}")
        if broken:
            shown = "\n".join(lines[:10] + ["  ..."] * (len(lines) > 10))
            count = f"{len(broken)} of {len(broken) + readable} entries"
            _warn_once(f"{count} of {source} were skipped:\n{shown}")

    def _nothing_left(self, count: int) -> str:
        where = f"the {self.split} part of {self.display_name} has no crystals"
        if self.pre_filter is not None:
            return f"{where} that pre_filter keeps"
        return (
            f"{where}: the source has {count} ({self.split_description}); choose other fractions, "
            "such as fractions=[1, 0, 0] to train on all (crysdiff train: ++data.fractions=[1,0,0])"
        )

    def _key(self, source: Path) -> str:
        facts: dict[str, Any] = {
            "format": [_FORMAT, pyg_crysdiff.__version__],
            "content": content_digest(source),
            "properties": self._wanted,
            "cif_column": self._cif_column,
            "reduce": self._reduce,
        }
        return facts_digest(facts)[:16]


@cache
def _warn_once(text: str) -> None:
    """Say it when the first of several parts is opened."""
    log.warning(text)
