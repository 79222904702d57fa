"""Crystals into a database, block by block: nothing twice, each block whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.known.files import reading, writing
from pyg_crysdiff.known.records import Record, record_of, short_digest, sum_with
from pyg_crysdiff.parallel import parallel_map

BLOCK = 2048  # entries in memory, and in one transaction
_QUESTIONS = 500  # values in one SQL statement
T = TypeVar("T")


@dataclass(frozen=True)
class Added:
    """How many entries there were, and what became of them.

    Attributes:
        entries: All of them.
        new: Crystals that were added.
        present: Crystals that were there already, or were twice among these.
        unreadable: Entries that are no crystals.
    """

    entries: int = 0
    new: int = 0
    present: int = 0
    unreadable: int = 0

    def __add__(self, other: Added) -> Added:
        return Added(
            self.entries + other.entries,
            self.new + other.new,
            self.present + other.present,
            self.unreadable + other.unreadable,
        )


@dataclass(frozen=True)
class Progress:
    """How much of a source is in the database already.

    Attributes:
        source: Number of the source.
        entries: Entries that were read, from the first on.
        is_whole: Whether that is all of it.
    """

    source: int
    entries: int
    is_whole: bool


def start_source(path: Path, name: str, digest: str) -> Progress:
    """Return how far a source of this content was read, and note it where it is new."""
    query = "SELECT id, entries, is_whole FROM sources WHERE digest = ?"
    with writing(path) as connection:
        row = connection.execute(query, (digest,)).fetchone()
        if row is None:
            values = (name, digest)
            made = connection.execute(
                "INSERT INTO sources (name, digest, entries, is_whole) VALUES (?, ?, 0, 0)", values
            )
            row = (made.lastrowid, 0, 0)
    return Progress(int(row[0]), int(row[1]), bool(row[2]))


def add_block(
    path: Path,
    source: int,
    start: int,
    block: Sequence[Crystal | BrokenEntry],
    *,
    num_workers: int | None = None,
) -> Added:
    """Add the crystals of a block that are not there yet, in one transaction.

    Args:
        path: The database.
        source: Number of their source.
        start: Entries of the source before this block.
        block: Crystals, and what could not be read.
        num_workers: Processes that reduce the cells; None for all cores.
    """
    broken = [(entry.source, entry.reason) for entry in block if isinstance(entry, BrokenEntry)]
    once: dict[bytes, Crystal] = {}
    for entry in block:
        if isinstance(entry, Crystal):
            once.setdefault(short_digest(entry), entry)
    with reading(path) as connection:
        old = _present(connection, list(once))
    new = [crystal for digest, crystal in once.items() if digest not in old]
    found = parallel_map(record_of, new, num_workers=num_workers, progress=False)
    records = [record for record in found if isinstance(record, Record)]
    for crystal, reason in zip(new, found, strict=True):
        if isinstance(reason, str):
            broken.append((str(crystal.info.get("material_id", "")), reason))
    with writing(path) as connection:
        added = _insert(connection, source, records)
        connection.executemany(
            "INSERT INTO unreadable (source, place, reason) VALUES (?, ?, ?)",
            [(source, place, reason) for place, reason in broken],
        )
        connection.execute(
            "UPDATE sources SET entries = MAX(entries, ?) WHERE id = ?",
            (start + len(block), source),
        )
    return Added(len(block), added, len(block) - added - len(broken), len(broken))


def finish_source(path: Path, source: int) -> None:
    """Note that all entries of a source were read."""
    with writing(path) as connection:
        connection.execute("UPDATE sources SET is_whole = 1 WHERE id = ?", (source,))


def _present(connection: sqlite3.Connection, digests: Sequence[bytes]) -> set[bytes]:
    out: set[bytes] = set()
    for some in blocks(digests, _QUESTIONS):
        query = f"SELECT digest FROM crystals WHERE digest IN ({marks(some)})"
        out.update(row[0] for row in connection.execute(query, some))
    return out


def _insert(connection: sqlite3.Connection, source: int, records: Sequence[Record]) -> int:
    """Insert rows that no other process has inserted meanwhile; return their number."""
    new = []
    for r in records:
        connection.execute(
            "INSERT OR IGNORE INTO compositions (formula, anonymous) VALUES (?, ?)",
            (r.formula, r.anonymous),
        )
        made = connection.execute(
            "INSERT OR IGNORE INTO crystals "
            "(composition, size, digest, source, name, crystal, cell) VALUES "
            "((SELECT id FROM compositions WHERE formula = ?), ?, ?, ?, ?, ?, ?)",
            (r.formula, r.size, r.digest, source, r.name, r.crystal, r.cell),
        )
        if made.rowcount:
            new.append(r)
    before = connection.execute("SELECT value FROM facts WHERE name = 'digest'").fetchone()
    connection.execute(
        "INSERT OR REPLACE INTO facts (name, value) VALUES ('digest', ?)",
        (sum_with(before[0] if before else "", new),),
    )
    return len(new)


def blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut what may have no end into lists of at most ``size``."""
    walk = iter(items)
    while block := list(islice(walk, size)):
        yield block


def marks(values: Sequence[object]) -> str:
    """Return as many question marks, with commas between them, as SQL takes values."""
    return ",".join("?" * len(values))
