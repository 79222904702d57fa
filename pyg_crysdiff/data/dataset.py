"""Crystals as a PyG ``InMemoryDataset``, from a user's own files.

Data flow: source file -> :mod:`parsing` (parallel, bad entries reported) -> one
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
from typing import Any

import numpy as np
from torch_geometric.data import Data

import pyg_crysdiff
from pyg_crysdiff.data.crystal import CrystalLike
from pyg_crysdiff.data.in_memory import InMemoryCrystals, Properties, parse_objects
from pyg_crysdiff.data.parse_cache import Parsed, load_parsed, save_parsed
from pyg_crysdiff.data.parsing import convert_entries, read_entries
from pyg_crysdiff.data.splits import (
    SPLITS,
    describe_shares,
    random_split,
    split_files,
    split_note,
    tables_of_no_part,
)
from pyg_crysdiff.platform import cache_folder
from pyg_crysdiff.storage import content_digest, facts_digest, user_path

log = logging.getLogger(__name__)
_FORMAT = 2


class CrystalDataset(InMemoryCrystals):
    """A user's own crystals: a CSV with a CIF column or a folder of structure files.

    One ``Data`` per crystal with ``atomic_numbers`` (N,), ``frac_coords`` (N, 3) in [0, 1),
    ``lattice`` (1, 3, 3) as rows in Angstrom, ``num_atoms`` (1,), ``properties`` (1, P) in the
    order of ``property_names``, NaN where there is no value (read by
    :func:`pyg_crysdiff.data.property_of`), ``material_id`` and ``row`` (number of the entry in its
    file). Cells are Niggli-reduced and in pymatgen's standard orientation.

    :meth:`from_crystals` makes one from objects in memory instead.

    A folder that holds ``train.csv`` and ``val.csv`` (also ``valid``, ``validation``, ``dev``) or
    ``test.csv`` (or ``.csv.gz``) is taken as split, which its ``split.txt`` may name; a single file
    or folder of structures is split by ``fractions`` at random. A validation set may be empty.

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
        self._name = self.path.stem.removesuffix(".csv")
        if not split_files(self.path):
            self._split_text = describe_shares(fractions, seed)
        elif note := split_note(self.path):
            self._split_text = note
        if strange := tables_of_no_part(self.path):
            log.warning(
                "%s: %s belongs to no part (train.csv, val.csv, test.csv) and is not read",
                self.path, ", ".join(strange),
            )  # fmt: skip
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
        super().__init__(folder, transform, pre_transform, pre_filter)
        parts = [self._parsed(source) for source in self._sources()]
        self._fill(parts, [self._select(len(p.crystals), np.array(p.rows)) for p in parts])
        if len(self) == 0 and self.split != "val":
            raise ValueError(self._nothing_left(sum(len(part.crystals) for part in parts)))

    @staticmethod
    def from_crystals(
        crystals: Sequence[CrystalLike],
        properties: Properties = None,
        *,
        target: str | None = None,
        name: str = "crystals",
        split: str = "as given",
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        niggli: bool = True,
        primitive: bool = False,
        num_workers: int | None = None,
    ) -> CrystalDataset:
        """Make a data set from objects in memory; nothing is read or written.

        Args:
            crystals: :class:`Crystal`, pymatgen ``Structure`` or ASE ``Atoms``, also mixed. They
                may be none, for an empty validation set.
            properties: Name to values, one per crystal; or names of numbers that the crystals
                carry in ``info`` (pymatgen: ``properties``), as one name or a list; None for all
                numbers there. None and NaN stand for an unknown value.
            target: Property that benchmarks and evaluators take; None for the first.
            name: Name for tables and cards.
            split: How these crystals were chosen, for tables and cards.
            transform: Applied at every access.
            pre_transform: Applied once, now.
            pre_filter: Keeps the data for which it returns True.
            niggli: Reduce cells, as for files.
            primitive: Reduce to primitive cells first.
            num_workers: Processes that reduce the cells; None for all cores.

        Raises:
            ValueError: If an entry is no crystal (the message says which and why), or the
                properties do not fit.
        """
        parsed = parse_objects(
            crystals, properties, niggli=niggli, primitive=primitive, num_workers=num_workers
        )
        made = CrystalDataset.__new__(CrystalDataset)
        InMemoryCrystals.__init__(made, None, transform, pre_transform, pre_filter)
        made._name, made._split_text = name, split
        made._wanted = None if properties is None else list(parsed.names)
        made._fill([parsed], [np.arange(len(parsed.crystals))])
        if target is not None and target not in parsed.names:
            raise ValueError(f"no property {target!r} to be the target; there are {parsed.names}")
        made.property_name = target or made.property_name
        return made

    # What a subclass with other sources replaces.

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
