"""Crystals in memory: the part of every data set that does not depend on files.

Crystals may come from files (:mod:`pyg_crysdiff.data.dataset`) or from objects in Python
(:func:`parse_objects`). Both end as one table of crystals, which :class:`InMemoryCrystals` shows as
a PyG data set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset
from torch_geometric.data import Data, InMemoryDataset

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal, CrystalLike, as_crystal
from pyg_crysdiff.data.formats.species import check_species
from pyg_crysdiff.data.parse_cache import Parsed
from pyg_crysdiff.data.parsing import canonical
from pyg_crysdiff.data.properties import common_names
from pyg_crysdiff.data.splits import describe_shares, random_split
from pyg_crysdiff.data.tables import COUNTERS, IDENTIFIERS
from pyg_crysdiff.data.target import no_targets
from pyg_crysdiff.errors import first_line
from pyg_crysdiff.parallel import parallel_map

Properties: TypeAlias = Mapping[str, Sequence[float | None]] | Sequence[str] | str | None


class InMemoryCrystals(InMemoryDataset):
    """A PyG data set over crystals in double precision.

    Args:
        root: Folder of raw files; None where there are none.
        transform: Applied at every access.
        pre_transform: Applied once.
        pre_filter: Keeps the data for which it returns True.

    Attributes:
        property_names: All properties, in the order of the columns of ``properties``.
        property_name: The target of benchmarks and evaluators; None without properties.
        left_out: Numbers that are not among the targets, with the reason.
        broken: Entries of the source that could not be read, with their reasons.
        space_size: Number of crystals in the whole space, where all files of the set together are
            its enumeration; None where the space is open.
        cdvae_evaluator: Folder of CDVAE's own evaluator of this data set among its ``prop_models``;
            None where there is none.
        origin: Name and options by which the set can be opened again; None where it cannot.
    """

    property_name: str | None = None
    success_thresholds: tuple[float, float, float] | None = None
    coverage_cutoffs: ClassVar[dict[str, tuple[float, float]]] = {}
    space_size: ClassVar[int | None] = None
    cdvae_evaluator: ClassVar[str | None] = None
    origin: Mapping[str, Any] | None = None
    split = "all"
    _name = "crystals"
    _split_text = "as given"
    _wanted: list[str] | None = None

    def __init__(
        self,
        root: str | None = None,
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
    ) -> None:
        super().__init__(root, transform, pre_transform, pre_filter, log=False)

    def _fill(self, parts: Sequence[Parsed], chosen: Sequence[NDArray[np.int64]]) -> None:
        """Take the crystals of each part that are chosen, and name their properties."""
        self.broken: list[BrokenEntry] = [entry for part in parts for entry in part.broken]
        names = common_names([part.names for part in parts]) if parts else self._wanted or []
        self.property_names: list[str] = names
        self._choose_target(parts, names)
        self._records: list[Crystal] = []
        data: list[Data] = []
        for part, rows in zip(parts, chosen, strict=True):
            for i in rows.tolist():
                crystal = part.crystals[i]
                item = crystal.to_data({name: crystal.info[name] for name in part.names})
                item.material_id, item.row = part.ids[i], part.rows[i]
                if self.pre_filter is not None and not self.pre_filter(item):
                    continue
                data.append(item if self.pre_transform is None else self.pre_transform(item))
                self._records.append(crystal)
        self.data, self.slices = self.collate(data) if data else (Data(), {})

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

    @property
    def targets(self) -> list[str]:
        """What a model is conditioned on unless told otherwise: the named properties, or one."""
        if self._wanted is not None and not self._of_class:
            return list(self.property_names)
        return [] if self.property_name is None else [self.property_name]

    @property
    def display_name(self) -> str:
        """Name for tables."""
        return self._name

    @property
    def split_description(self) -> str:
        """How the data are split, for tables."""
        return self._split_text

    def crystals(self) -> list[Crystal]:
        """Return the crystals in double precision, with identifier and properties in ``info``.

        Respects subsets (``dataset[:100]``); transforms are not applied.
        """
        return [self._records[i] for i in self.indices()]

    def random_split(
        self, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 0
    ) -> tuple[Self, Self, Self]:
        """Cut the data set into training, validation and test set at random.

        Args:
            fractions: Shares of the three parts; they add up to 1.
            seed: Seed of the split.

        Raises:
            ValueError: If the fractions are not three numbers from 0 that add up to 1.
        """
        first, second, third = (
            self._part(rows) for rows in random_split(len(self), fractions, seed)
        )
        for part in (first, second, third):
            part._split_text = describe_shares(fractions, seed)
        return first, second, third

    def _part(self, rows: NDArray[np.int64]) -> Self:
        part = self.index_select(rows.tolist())
        assert isinstance(part, type(self))
        return part

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
        assert isinstance(part, InMemoryCrystals)
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


def parse_objects(
    entries: Sequence[CrystalLike],
    properties: Properties = None,
    *,
    niggli: bool = True,
    primitive: bool = False,
    num_workers: int | None = None,
) -> Parsed:
    """Turn objects of several libraries into crystals as data sets hold them.

    Args:
        entries: :class:`Crystal`, pymatgen ``Structure`` or ASE ``Atoms``, also mixed.
        properties: Name to values, one per entry; or names of numbers in the entries' ``info``
            (of a ``Structure``: ``properties``); None for all numbers there. None and NaN stand
            for an unknown value.
        niggli: Reduce cells (:func:`pyg_crysdiff.data.parsing.canonical`).
        primitive: Reduce to primitive cells first.
        num_workers: Processes; None for all cores. Small sets start none.

    Raises:
        ValueError: If an entry is no crystal or a value no number; the message says which and why.
            Also if a property has another number of values than there are entries, or stands
            nowhere.
    """
    given = [_entry(entry, i) for i, entry in enumerate(entries)]
    columns, left_out = _columns(given, properties)
    reduce = partial(_reduced, niggli=niggli, primitive=primitive)
    found = parallel_map(
        reduce, given, num_workers=num_workers, progress=len(given) > 1000, label="reducing cells"
    )
    crystals, ids = [], []
    for i, crystal in enumerate(found):
        if isinstance(crystal, str):
            raise ValueError(f"{_place(given[i], i)}: {crystal}")
        values = {name: column[i] for name, column in columns.items()}
        ids.append(str(crystal.info.get("material_id", i)))
        info = {**crystal.info, "material_id": ids[-1], "row": i, **values}
        crystals.append(Crystal(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers, info))
    return Parsed(crystals, ids, range(len(crystals)), list(columns), left_out, [])


def _entry(entry: CrystalLike, index: int) -> Crystal:
    try:
        return as_crystal(entry)
    except (ValueError, TypeError) as error:
        raise ValueError(f"crystals[{index}]: {first_line(error)}") from error


def _place(crystal: Crystal, index: int) -> str:
    name = crystal.info.get("material_id")
    return f"crystals[{index}]" + (f" ({name})" if name is not None else "")


def _reduced(crystal: Crystal, *, niggli: bool, primitive: bool) -> Crystal | str:
    """Return the crystal in the cell that data sets keep, or what is wrong with it."""
    try:
        check_species(crystal.atomic_numbers)
        if not crystal.is_finite:
            return "a coordinate or lattice vector is not finite"
        return canonical(crystal, niggli=niggli, primitive=primitive)
    except Exception as error:  # pymatgen's reductions fail in many ways on bad cells
        return first_line(error)


def _columns(
    crystals: Sequence[Crystal], properties: Properties
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return the values of every property by name, and the numbers that are no properties."""
    if isinstance(properties, Mapping):
        return {name: _values(name, column, crystals) for name, column in properties.items()}, {}
    found = list(dict.fromkeys(name for crystal in crystals for name in _numbers(crystal)))
    if properties is None:
        reserved = (*IDENTIFIERS, *COUNTERS)
        left_out = {n: "identifier or counter" for n in found if n.lower() in reserved}
        names = [name for name in found if name not in left_out]
    else:
        names = [properties] if isinstance(properties, str) else list(dict.fromkeys(properties))
        left_out = {}
    if missing := [name for name in names if name not in found and crystals]:
        raise ValueError(f"no crystal has the properties {missing} in its info; found: {found}")
    columns = {name: [c.info.get(name) for c in crystals] for name in names}
    return {name: _values(name, column, crystals) for name, column in columns.items()}, left_out


def _numbers(crystal: Crystal) -> list[str]:
    kinds = (int, float, np.integer, np.floating)
    return [
        str(name)
        for name, value in crystal.info.items()
        if isinstance(value, kinds) and not isinstance(value, bool)
    ]


def _values(name: str, column: Sequence[float | None], crystals: Sequence[Crystal]) -> list[float]:
    """Return the values of a property as numbers, NaN where there is none."""
    if len(column) != len(crystals):
        raise ValueError(f"property {name!r}: {len(column)} values for {len(crystals)} crystals")
    out = []
    for i, value in enumerate(column):
        try:
            number = math.nan if value is None else float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{_place(crystals[i], i)}: property {name!r} is {value!r:.80}, no number"
            ) from error
        if math.isinf(number):
            raise ValueError(f"{_place(crystals[i], i)}: property {name!r} is {number}")
        out.append(number)
    return out
