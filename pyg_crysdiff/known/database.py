"""A database of known crystals in one SQLite file, by reduced composition."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.known.adding import (
    BLOCK,
    Added,
    add_block,
    blocks,
    finish_source,
    marks,
    start_source,
)
from pyg_crysdiff.known.cells import Key
from pyg_crysdiff.known.files import make_file, reading
from pyg_crysdiff.known.packing import unpack
from pyg_crysdiff.storage import user_path

_QUESTIONS = 500  # values in one SQL statement


@dataclass(frozen=True)
class KnownCrystal:
    """Which crystal of a database it is.

    Attributes:
        row: Its number in the database, from 1.
        name: Its identifier in its source; "" where it has none.
        source: The file or data set that it came from.
    """

    row: int
    name: str
    source: str


@dataclass(frozen=True)
class SourceFacts:
    """A file or data set that was added.

    Attributes:
        name: Its path or name.
        entries: Entries that were read.
        crystals: Those that are in the database from it: no others had them before.
        unreadable: Entries that are no crystals.
        is_whole: Whether all of it was read.
    """

    name: str
    entries: int
    crystals: int
    unreadable: int
    is_whole: bool


@dataclass(frozen=True)
class Facts:
    """How much is in a database.

    Attributes:
        crystals: Crystals.
        formulas: Their different reduced formulas.
        anonymous: Their different anonymous formulas.
        without_key: Crystals whose cell cannot be reduced; they match nothing.
    """

    crystals: int
    formulas: int
    anonymous: int
    without_key: int


class Database:
    """Known crystals in an SQLite file, by reduced composition and size of the primitive cell.

    A database is a path alone: every reading opens the file for itself, so that it can be handed
    to other processes and threads, and any number of them can read at once. Nothing in the file is
    executed. The crystals are kept in double precision with their reduced primitive cells, so that
    a match with one of them has the verdict of the crystal that was added.

    Args:
        path: The file.
        create: Make an empty one where there is none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file, damaged, or of a newer version of this package.
    """

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        self.path = Path(user_path(path))
        if create:
            make_file(self.path)
        with reading(self.path):
            pass

    def __repr__(self) -> str:
        return f"Database({str(self.path)!r})"

    def __len__(self) -> int:
        with reading(self.path) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM crystals").fetchone()[0])

    def digest(self) -> str:
        """Return a digest of all crystals and their identifiers, whatever their order, as hex.

        It is kept up to date in the file, so that asking for it costs nothing.
        """
        with reading(self.path) as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = 'digest'").fetchone()
        return str(row[0]) if row else f"{0:064x}"

    def add(
        self,
        crystals: Iterable[Crystal],
        *,
        source: str = "",
        num_workers: int | None = None,
    ) -> Added:
        """Add crystals that are not there yet, to the last bit; they are never all in memory.

        Args:
            crystals: Crystals; ``info["material_id"]`` is their identifier.
            source: Where they come from, in words.
            num_workers: Processes that reduce the cells; None for all cores.

        Returns:
            How many were added. Crystals that are not finite or hold no elements are counted as
            unreadable.
        """
        progress = start_source(self.path, source, f"added {secrets.token_hex(16)}")
        found = Added()
        for block in blocks(crystals, BLOCK):
            found += add_block(
                self.path, progress.source, found.entries, block, num_workers=num_workers
            )
        finish_source(self.path, progress.source)
        return found

    def keys(self, formulas: Iterable[str]) -> dict[Key, int]:
        """Return the keys that crystals of these reduced formulas have, with their numbers."""
        return self._counted("formula", formulas)

    def prototype_keys(self, formulas: Iterable[str]) -> dict[Key, int]:
        """Return the keys that crystals of these anonymous formulas have, with their numbers."""
        return self._counted("anonymous", formulas)

    def of_formulas(self, formulas: Iterable[str]) -> Iterator[tuple[Key | None, int, Crystal]]:
        """Yield the crystals of these reduced formulas as they were added.

        Yields:
            The matching key (None where the cell cannot be reduced), the row, and the crystal,
            whose ``info`` holds its ``material_id``.
        """
        query = (
            "SELECT formula, size, crystals.id, name, crystal FROM compositions JOIN crystals "
            "ON composition = compositions.id WHERE formula IN ({})"
        )
        for formula, size, row, name, packed in self._asked(query, formulas):
            key = (str(formula), int(size)) if size else None
            yield key, int(row), _named(unpack(packed), name)

    def cells(self, key: Key) -> list[tuple[int, Crystal]]:
        """Return row and reduced primitive cell of every crystal of a key, in the order of rows."""
        return self._reduced("formula", key)

    def prototype_cells(self, key: Key) -> list[tuple[int, Crystal]]:
        """Return what :meth:`cells` does, for an anonymous formula and a size."""
        return self._reduced("anonymous", key)

    def which(self, rows: Iterable[int]) -> dict[int, KnownCrystal]:
        """Say which crystals stand in these rows."""
        query = (
            "SELECT crystals.id, crystals.name, sources.name FROM crystals JOIN sources "
            "ON source = sources.id WHERE crystals.id IN ({})"
        )
        found = self._asked(query, rows)
        return {int(row): KnownCrystal(int(row), name, source) for row, name, source in found}

    def crystals(self) -> Iterator[Crystal]:
        """Yield all crystals as they were added, in the order of rows."""
        with reading(self.path) as connection:
            for name, packed in connection.execute(
                "SELECT name, crystal FROM crystals ORDER BY id"
            ):
                yield _named(unpack(packed), name)

    def sources(self) -> list[SourceFacts]:
        """Return the files and data sets that were added, in order."""
        counted = "SELECT source, COUNT(*) AS count FROM {} GROUP BY source"
        query = (
            "SELECT name, entries, COALESCE(c.count, 0), COALESCE(u.count, 0), is_whole FROM "
            f"sources LEFT JOIN ({counted.format('crystals')}) AS c ON c.source = sources.id "
            f"LEFT JOIN ({counted.format('unreadable')}) AS u ON u.source = sources.id "
            "ORDER BY sources.id"
        )
        with reading(self.path) as connection:
            rows = connection.execute(query).fetchall()
        return [SourceFacts(str(n), int(e), int(c), int(u), bool(w)) for n, e, c, u, w in rows]

    def facts(self) -> Facts:
        """Return how much is in it."""
        query = (
            "SELECT (SELECT COUNT(*) FROM crystals), COUNT(*), COUNT(DISTINCT anonymous), "
            "(SELECT COUNT(*) FROM crystals WHERE size = 0) FROM compositions"
        )
        with reading(self.path) as connection:
            return Facts(*(int(number) for number in connection.execute(query).fetchone()))

    def unreadable(self, source: str | None = None) -> Iterator[tuple[str, str]]:
        """Yield place and reason of every entry that could not be read, the last ones first.

        Args:
            source: Name of the file or data set; None for all.
        """
        query = (
            "SELECT place, reason FROM unreadable JOIN sources ON source = sources.id "
            "WHERE ?1 IS NULL OR name = ?1 ORDER BY unreadable.rowid DESC"
        )
        with reading(self.path) as connection:
            for place, reason in connection.execute(query, (source,)):
                yield str(place), str(reason)

    def _counted(self, column: str, formulas: Iterable[str]) -> dict[Key, int]:
        query = (
            f"SELECT {column}, size, COUNT(*) FROM compositions JOIN crystals "
            f"ON composition = compositions.id WHERE size > 0 AND {column} IN ({{}}) "
            f"GROUP BY {column}, size"
        )
        return {(str(f), int(n)): int(count) for f, n, count in self._asked(query, formulas)}

    def _reduced(self, column: str, key: Key) -> list[tuple[int, Crystal]]:
        query = (
            "SELECT id, cell FROM crystals WHERE size = ? AND composition IN "
            f"(SELECT id FROM compositions WHERE {column} = ?) ORDER BY id"
        )
        with reading(self.path) as connection:
            rows = connection.execute(query, (key[1], key[0])).fetchall()
        return [(int(row), unpack(packed)) for row, packed in rows]

    def _asked(self, query: str, values: Iterable[object]) -> Iterator[Sequence]:
        """Yield the rows of a query with a list of values, some hundred of them at a time."""
        with reading(self.path) as connection:
            for some in blocks(dict.fromkeys(values), _QUESTIONS):
                yield from connection.execute(query.format(marks(some)), some)


def _named(crystal: Crystal, name: str) -> Crystal:
    info = {"material_id": name} if name else {}
    return Crystal(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers, info)
