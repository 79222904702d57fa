"""What a generator must remember of its training set, small enough to live in a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyg_crysdiff.data.properties import property_of
from pyg_crysdiff.data.size_bins import SizeBins, size_histogram

if TYPE_CHECKING:
    from torch_geometric.data import Data, InMemoryDataset


def atomic_numbers_of(dataset: InMemoryDataset) -> Tensor:
    """Return the atomic numbers of all atoms of a data set, (N,).

    They lie in one tensor already, but where the data set changes crystals at every access.
    """
    if dataset.transform is None:
        numbers: Tensor = dataset.atomic_numbers
        return numbers
    return torch.cat([data.atomic_numbers for data in dataset])


@dataclass(frozen=True)
class PropertyStatistics:
    """Distribution of one scalar property over the training crystals whose value is known.

    Attributes:
        mean: Mean.
        std: Standard deviation; 1 for a property that does not vary.
        minimum: Smallest value.
        maximum: Largest value.
        quantiles: Values at 0, 1, ..., 100 %.
        bin_edges: Edges of bins of the value, ascending (:class:`SizeBins`).
        num_atoms: For each bin, atom count to number of crystals.
        bandwidth: Of the kernel between bins that gives p(N | property); 0 in older statistics,
            which have 20 quantile bins and no kernel.
    """

    mean: float
    std: float
    minimum: float
    maximum: float
    quantiles: tuple[float, ...]
    bin_edges: tuple[float, ...]
    num_atoms: tuple[dict[int, int], ...]
    bandwidth: float = 0.0

    @classmethod
    def from_values(cls, values: NDArray[np.float64], sizes: NDArray[np.int64]) -> Self:
        """Collect the statistics of values (M,) of crystals with the given atom counts (M,)."""
        bins = SizeBins.from_values(values, sizes)
        return cls(
            mean=float(values.mean()),
            std=float(values.std()) or 1.0,
            minimum=float(values.min()),
            maximum=float(values.max()),
            quantiles=tuple(np.quantile(values, np.linspace(0, 1, 101)).tolist()),
            bin_edges=bins.edges,
            num_atoms=bins.histograms,
            bandwidth=bins.bandwidth,
        )

    def quantile(self, share: float) -> float:
        """Return the value below which a share (0 to 1) of the training values lies."""
        return float(np.interp(100 * share, np.arange(len(self.quantiles)), self.quantiles))

    def share_up_to(self, value: float) -> float:
        """Return the share (0 to 1) of training values at or below a value, interpolated."""
        return float(np.interp(value, self.quantiles, np.linspace(0, 1, len(self.quantiles))))

    def share_below(self, value: float) -> float:
        """Return the share (0 to 1) of training values below a value, interpolated."""
        place = int(np.searchsorted(self.quantiles, value, side="left"))
        tied = value in self.quantiles  # many values may be this one, which do not count
        return place / (len(self.quantiles) - 1) if tied else self.share_up_to(value)

    @cached_property
    def sizes(self) -> SizeBins:
        """Numbers of atoms by the value of the property."""
        return SizeBins(self.bin_edges, self.num_atoms, self.bandwidth)


@dataclass(frozen=True)
class DataStatistics:
    """Element list, sizes, lattice scale and properties of a training set.

    Attributes:
        elements: Atomic numbers that occur, ascending; their positions are the species classes.
        num_atoms: Atom count to number of crystals.
        lattice_rms: Root mean square of all lattice entries, Angstrom.
        lattice_rms_per_atom: The same of lattice / N^(1/3).
        max_length: Longest lattice vector, Angstrom.
        max_length_per_atom: The same of lattice / N^(1/3).
        properties: Name to statistics.
        num_crystals: Size of the training set.
        min_width: Smallest distance of opposite faces of a cell, Angstrom; 0 where older
            statistics do not say.
        min_width_per_atom: The same of lattice / N^(1/3).
        counts: How many atoms of each of its elements a crystal has, descending, without saying of
            which ("3 1 1" for a perovskite), to number of crystals; empty where older statistics
            do not say.
    """

    elements: tuple[int, ...]
    num_atoms: dict[int, int]
    lattice_rms: float
    lattice_rms_per_atom: float
    max_length: float
    max_length_per_atom: float
    properties: dict[str, PropertyStatistics]
    num_crystals: int
    min_width: float = 0.0
    min_width_per_atom: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_dataset(cls, dataset: Sequence[Data], properties: Sequence[str] = ()) -> Self:
        """Collect the statistics of a training set in one pass.

        Args:
            dataset: ``Data`` objects as made by the datasets of this package.
            properties: Names of the scalar properties that the generator is conditioned on.

        Raises:
            ValueError: If the set is empty, or a property is missing, infinite or nowhere known.
        """
        if len(dataset) == 0:
            raise ValueError("the training set is empty")
        elements: set[int] = set()
        counts: Counter[str] = Counter()
        sizes, entries, lengths, widths = [], [], [], []
        values: dict[str, list[float]] = {name: [] for name in properties}
        for row in range(len(dataset)):
            data = dataset[row]
            species = Counter(data.atomic_numbers.tolist())
            elements.update(species)
            counts[" ".join(map(str, sorted(species.values(), reverse=True)))] += 1
            sizes.append(int(data.num_atoms))
            entries.append(float(data.lattice.double().square().mean()))
            lengths.append(float(data.lattice.double().norm(dim=-1).max()))
            lattice = data.lattice.double().view(3, 3)
            faces = torch.linalg.cross(lattice.roll(1, 0), lattice.roll(2, 0)).norm(dim=-1)
            widths.append(float(lattice.det().abs() / faces.max().clamp(min=1e-12)))
            for name, column in values.items():
                column.append(_property(data, name, row))
        n = np.array(sizes)
        shrink = n ** (-1 / 3)
        return cls(
            elements=tuple(sorted(elements)),
            num_atoms=size_histogram(n),
            lattice_rms=float(np.sqrt(np.mean(entries))),
            lattice_rms_per_atom=float(np.sqrt(np.mean(np.array(entries) * shrink**2))),
            max_length=float(np.max(lengths)),
            max_length_per_atom=float(np.max(np.array(lengths) * shrink)),
            properties={
                name: _known_values(name, np.array(column), n) for name, column in values.items()
            },
            num_crystals=len(dataset),
            min_width=float(np.min(widths)),
            min_width_per_atom=float(np.min(np.array(widths) * shrink)),
            counts=dict(sorted(counts.items())),
        )

    def in_units_of(self, other: DataStatistics, *, new_elements: bool = False) -> Self:
        """Return these statistics with the elements and the unit of length of another set.

        For a model that was trained on the other set and goes on with this one: its species
        classes and lattice scale stay, sizes and properties are those of this set.

        Args:
            other: Statistics of the set that the model was trained on.
            new_elements: Add the elements of this set that do not occur in the other one.

        Raises:
            ValueError: If there are such elements, and they are not to be added.
        """
        unknown = sorted(set(self.elements) - set(other.elements))
        if unknown and not new_elements:
            raise ValueError(
                f"the model does not know the elements {unknown} (atomic numbers) of the data; "
                f"it was trained on {list(other.elements)}"
            )
        return replace(
            self,
            elements=type(other.elements)(sorted({*other.elements, *unknown})),
            lattice_rms=other.lattice_rms,
            lattice_rms_per_atom=other.lattice_rms_per_atom,
            max_length=max(self.max_length, other.max_length),
            max_length_per_atom=max(self.max_length_per_atom, other.max_length_per_atom),
            min_width=min(self.min_width, other.min_width),
            min_width_per_atom=min(self.min_width_per_atom, other.min_width_per_atom),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote, also after a round trip through JSON.

        Raises:
            ValueError: If a field is missing.
        """
        try:
            properties = {
                name: PropertyStatistics(
                    **{
                        **p,
                        "quantiles": tuple(p["quantiles"]),
                        "bin_edges": tuple(p["bin_edges"]),
                        "num_atoms": tuple(_int_keys(h) for h in p["num_atoms"]),
                    }
                )
                for name, p in raw["properties"].items()
            }
            fields = {
                **raw,
                "elements": tuple(int(z) for z in raw["elements"]),
                "num_atoms": _int_keys(raw["num_atoms"]),
                "properties": properties,
                "counts": dict(raw.get("counts", {})),
            }
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"damaged data statistics: {error}") from error

    def size_weights(self, target: Mapping[str, float] | None = None) -> dict[int, float]:
        r"""Return atom counts with weights, p(N) or p(N | property) times a constant.

        .. math:: p(N | y_1, y_2, ...) \propto p(N) \prod_i p(N | y_i) / p_i(N)

        with p_i(N) of the crystals whose property i is known. It holds where the properties of
        crystals of one size do not depend on each other.

        Args:
            target: Property name to wanted value. Where no size has weight, p(N) is used.
        """
        histogram = {n: float(c) for n, c in self.num_atoms.items()}
        product = dict(histogram)
        for name, value in (target or {}).items():
            sizes = self.properties[name].sizes
            near, usual = sizes.near(value), sizes.total()
            product = {n: p * near[n] / usual[n] if n in near else 0.0 for n, p in product.items()}
        return product if sum(product.values()) > 0 else histogram

    def sample_num_atoms(
        self,
        count: int,
        generator: torch.Generator,
        target: Mapping[str, float] | None = None,
    ) -> list[int]:
        """Draw atom counts from p(N), or from p(N | property) for one given target.

        Args:
            count: Number of crystals.
            generator: CPU generator.
            target: See :meth:`size_weights`.
        """
        return draw_sizes(self.size_weights(target), count, generator)


def draw_sizes(weights: Mapping[int, float], count: int, generator: torch.Generator) -> list[int]:
    """Draw atom counts with probabilities in proportion to their weights.

    Args:
        weights: Atom count to weight.
        count: Number of draws.
        generator: CPU generator.
    """
    sizes = sorted(weights)
    chances = torch.tensor([weights[n] for n in sizes], dtype=torch.float64)
    drawn = torch.multinomial(chances, count, replacement=True, generator=generator)
    return [sizes[i] for i in drawn.tolist()]


def _property(data: Data, name: str, row: int) -> float:
    label = data.material_id if "material_id" in data else f"row {row}"
    try:
        value = float(property_of(data, name))
    except KeyError as error:
        raise ValueError(f"crystal {label}: {error.args[0]}") from error
    if np.isinf(value):
        raise ValueError(
            f"property {name!r} of crystal {label} is infinite, or too large for the precision of "
            "the training; correct the value, or leave it empty"
        )
    return value


def _known_values(
    name: str, values: NDArray[np.float64], sizes: NDArray[np.int64]
) -> PropertyStatistics:
    known = ~np.isnan(values)
    if not known.any():
        raise ValueError(f"no training crystal has a value of the property {name!r}")
    return PropertyStatistics.from_values(values[known], sizes[known])


def _int_keys(histogram: Mapping[Any, int]) -> dict[int, int]:
    return {int(n): int(count) for n, count in histogram.items()}
