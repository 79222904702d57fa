"""The SQLite file of a database of known crystals: made, opened, checked.

Each reading opens a connection of its own, so that a database can be handed to other processes and
threads. The file keeps SQLite's rollback journal: a write-ahead log needs memory that all readers
share, which network file systems do not give.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from pyg_crysdiff.storage.sqlite import (
    half_written,
    make_tables,
    named_errors,
    pragma,
    refuse_empty,
    take_back,
    transaction,
)

APPLICATION = 0x43585442  # "CXTB"
SCHEMA = 1
_BUSY = 60.0  # seconds to wait for another writer
_MAGIC = b"SQLite format 3\x00"
_CACHE_KIB = 64 * 1024
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE compositions (
    id INTEGER PRIMARY KEY,
    formula TEXT NOT NULL UNIQUE,    -- reduced
    anonymous TEXT NOT NULL
);
CREATE INDEX compositions_by_anonymous ON compositions (anonymous);
CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,     -- of the content
    entries INTEGER NOT NULL,        -- read so far, the unreadable ones too
    is_whole INTEGER NOT NULL        -- whether that is all of it
);
CREATE TABLE unreadable (
    source INTEGER NOT NULL REFERENCES sources, place TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE crystals (
    id INTEGER PRIMARY KEY,
    composition INTEGER NOT NULL REFERENCES compositions,
    size INTEGER NOT NULL,           -- atoms of the primitive cell, or 0 where it cannot be reduced
    digest BLOB NOT NULL UNIQUE,     -- first half of the crystal's SHA-256
    source INTEGER NOT NULL REFERENCES sources,
    name TEXT NOT NULL,              -- identifier in its source
    crystal BLOB NOT NULL,           -- packed, as it was read
    cell BLOB                        -- packed reduced primitive cell, or NULL where size is 0
);
CREATE INDEX crystals_by_key ON crystals (composition, size);
"""


def make_file(path: Path) -> None:
    """Make an empty database where there is no file yet.

    Raises:
        ValueError: If there is a file that is no database of known crystals.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size:
        _check_is_sqlite(path)
    with _named(path), closing(sqlite3.connect(path, timeout=_BUSY)) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN IMMEDIATE")  # one of several that start at once makes the tables
        if pragma(connection, "schema_version") == 0:
            make_tables(connection, _TABLES, APPLICATION, SCHEMA)
        connection.execute("COMMIT")
        _check_is_ours(connection, path)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for reading alone.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file, damaged, or of a newer version of this package.
    """
    with _named(path), closing(_readable(path)) as connection:
        _check_is_ours(connection, path)
        yield connection


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for one transaction, which is kept whole or not at all.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: See :func:`reading`; also if another process writes for longer than a minute.
    """
    _check_is_sqlite(path)
    with _named(path), closing(sqlite3.connect(path, timeout=_BUSY)) as connection:
        connection.isolation_level = None
        _check_is_ours(connection, path)
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        with transaction(connection):
            yield connection


def _readable(path: Path) -> sqlite3.Connection:
    _check_is_sqlite(path)
    try:
        return _opened(path, "mode=ro")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            take_back(path, _BUSY)
            return _opened(path, "mode=ro")
        if error.sqlite_errorname in ("SQLITE_PROTOCOL", "SQLITE_IOERR_LOCK", "SQLITE_NOLFS"):
            return _opened(path, "mode=ro&nolock=1")  # a file system without locks
        raise


def _opened(path: Path, options: str) -> sqlite3.Connection:
    place = quote(str(path.absolute()))
    connection = sqlite3.connect(f"file:{place}?{options}", uri=True, timeout=_BUSY)
    try:
        pragma(connection, "schema_version")  # touches the file
    except BaseException:
        connection.close()
        raise
    return connection


def is_sqlite(path: Path) -> bool:
    """Whether a file begins as every SQLite file does."""
    with path.open("rb") as handle:
        return handle.read(len(_MAGIC)) == _MAGIC


def _check_is_sqlite(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(
            f"no database of known crystals at {path}; crysdiff index FILES --out {path} makes one"
        )
    if path.is_dir():
        raise ValueError(f"{path} is a folder, and no database of known crystals")
    if not is_sqlite(path) and not half_written(path):
        raise ValueError(
            f"{path} is no SQLite file, so no database of known crystals; crysdiff index {path} "
            "--out known.sqlite makes one of the crystals of another file"
        )


def _check_is_ours(connection: sqlite3.Connection, path: Path) -> None:
    refuse_empty(connection, path)
    if pragma(connection, "application_id") != APPLICATION:
        raise ValueError(
            f"{path} is an SQLite file of another program, and no database of known crystals "
            "(crysdiff index makes them); it was left as it is"
        )
    if (version := pragma(connection, "user_version")) != SCHEMA:
        raise ValueError(
            f"{path} has version {version} of the tables of known crystals, and this release reads "
            f"version {SCHEMA}: update pyg_crysdiff, or make the database anew with crysdiff index"
        )


def _named(path: Path) -> AbstractContextManager[None]:
    """Let SQLite's errors name the file and say what to do."""
    return named_errors(
        path,
        busy="is being written",
        unwritable=", or the process that wrote it was killed; whoever may write there runs "
        f"crysdiff index {path} once",
        damaged="copy it again, or make it anew with crysdiff index",
    )
