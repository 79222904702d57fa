"""Scalar properties of crystals in PyG's ``Data``: one tensor and its names; any name works.

PyG reads meaning into the keys of a ``Data``: in collation it shifts what is called ``...index...``
or ``...batch...``, lays ``face`` along another axis, and has fields of its own (``y``, ``ptr``,
``num_nodes``). A name from a user's table is therefore never a key. The values of a crystal lie in
``properties`` (1, P), NaN where there is none, and their names in ``property_names``; a batch has
``properties`` (B, P).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data

D = TypeVar("D", bound="Data")
C = TypeVar("C", bound="Described")
_FIELDS = {"atomic_numbers", "frac_coords", "lattice", "num_atoms", "num_nodes", "ptr", "face"}


class Described(Protocol):
    """A crystal that carries its properties by name, such as :class:`Crystal`."""

    @property
    def info(self) -> dict[str, Any]:
        """Name to value."""


class PropertySet(Protocol):
    """What :func:`describe_use` reads of a data set."""

    property_names: list[str]
    left_out: dict[str, str]

    def __len__(self) -> int: ...

    def crystals(self) -> Sequence[Described]:
        """Return all crystals."""


def set_properties(data: D, properties: Mapping[str, float]) -> D:
    """Give a crystal its properties, in the place of those it had.

    Args:
        data: One crystal.
        properties: Name to value; NaN where the value is not known.

    Returns:
        The same object.
    """
    values = [float(value) for value in properties.values()]
    data.properties = torch.tensor(values, dtype=torch.get_default_dtype()).view(1, -1)
    data.property_names = list(properties)
    return data


def names_of(data: Batch | Data) -> list[str] | None:
    """Return the names of the properties, in the order of the columns; None without any place.

    Raises:
        ValueError: If the crystals of the batch do not have the same properties.
    """
    if "property_names" not in data:
        return None
    names = data.property_names
    if names and not isinstance(names[0], str):  # PyG makes a list with the names of each crystal
        return common_names(names)
    return list(names)


def common_names(names: Sequence[Sequence[str]]) -> list[str]:
    """Return the names that all crystals have, in the same order.

    Raises:
        ValueError: If they have not.
    """
    first = list(names[0])
    for other in names:
        if list(other) != first:
            raise ValueError(
                f"crystals with the properties {first} and with {list(other)} do not go together; "
                "open both data sets with the same properties=[...]"
            )
    return first


def property_of(data: Batch | Data, name: str) -> Tensor:
    """Return one property of a crystal or batch, (B,); NaN where it is not known.

    A ``Data`` of one's own without ``property_names`` may carry it under its name, one value per
    crystal, where PyG leaves that name alone.

    Args:
        data: Crystal or batch.
        name: Property.

    Raises:
        KeyError: If there is no such property.
        ValueError: If PyG changes values of that name, or the crystals of the batch differ.
    """
    names = names_of(data)
    if names is not None:
        if name not in names:
            raise KeyError(f"the crystals have no property {name!r}; they have {names}")
        return data.properties[:, names.index(name)]
    if name not in data:
        raise KeyError(f"the crystals have no property {name!r}; they have {data.keys()}")
    if name in _FIELDS or "index" in name or "batch" in name:
        raise ValueError(
            f"PyG changes values that are called {name!r}; give the crystals their properties with "
            "pyg_crysdiff.data.set_properties"
        )
    return data[name].view(-1)


def with_value(crystals: Sequence[C], name: str) -> list[C]:
    """Return the crystals whose ``info`` has a value of a property, NaN being none."""
    return [c for c in crystals if not math.isnan(c.info.get(name, math.nan))]


def describe_use(dataset: PropertySet, used: Sequence[str], what: str, gaps: str) -> str:
    """Say in one line which properties are used, and why the other columns are not.

    Args:
        dataset: Training set.
        used: Names of the properties that are used.
        what: What is done, e.g. ``conditioned on``.
        gaps: What becomes of crystals without a value.
    """
    parts = []
    for name in used:
        missing = len(dataset) - len(with_value(dataset.crystals(), name))
        note = f" ({missing} of {len(dataset)} without a value: {gaps})" if missing else ""
        parts.append(name + note)
    line = f"{what} {', '.join(parts) or 'no property'}"
    rest = dict.fromkeys(dataset.property_names, "not asked for") | dataset.left_out
    left_out = [f"{name} ({why})" for name, why in rest.items() if name not in used]
    return f"{line}; left out: {', '.join(left_out)}" if left_out else line
