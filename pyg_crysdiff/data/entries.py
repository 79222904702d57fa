"""What a file holds before it is parsed: one record per crystal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawEntry:
    """One crystal before parsing.

    Attributes:
        text: Content of a structure file, or the part of it that holds this crystal.
        fmt: ``cif``, ``poscar``, ``extxyz`` or ``json``.
        source: File, and row or number of the entry where there are several.
        row: Number of the entry in its file, from 0.
        material_id: Identifier.
        properties: Scalar properties as read; a gap is NaN.
        problem: Why the entry cannot be used although its text may be readable, such as a table
            without a row for it; empty where there is nothing.
    """

    text: str
    fmt: str
    source: str
    row: int
    material_id: str
    properties: dict[str, float]
    problem: str = ""


@dataclass(frozen=True)
class ReadEntries:
    """What a table or folder holds, before parsing; unpacks as ``entries, names``.

    Attributes:
        entries: One per crystal; a property with a gap is NaN.
        names: Property columns.
        left_out: Other columns, with the reason why they are no properties.
    """

    entries: list[RawEntry]
    names: list[str]
    left_out: dict[str, str]

    def __iter__(self) -> Iterator[Any]:
        yield from (self.entries, self.names)
