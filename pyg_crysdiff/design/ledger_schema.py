"""The SQLite file of a ledger: its tables, and how it is opened.

The writer keeps a write-ahead log, so that others read while it writes and an answer is on the disk
once its transaction has ended. When the writer ends in order it folds the log into the file, which
can then be read and copied alone, also by who may not write there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from pyg_crysdiff.storage import sqlite

LEDGER = "ledger.sqlite"
APPLICATION = 0x43584453  # "CXDS"
SCHEMA = 1
_BUSY = 60.0  # seconds to wait for who reads while the log is folded in
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rounds (
    number INTEGER PRIMARY KEY,      -- from 1
    state TEXT NOT NULL,             -- evaluating, closed
    facts TEXT NOT NULL              -- JSON: seconds of each part, generator, predictor, learning
);
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY,
    round INTEGER NOT NULL REFERENCES rounds,
    place INTEGER NOT NULL,          -- among those drawn in the round, from 0
    status TEXT NOT NULL,            -- invalid, constraint, known, seen, twice, left, chosen
    reason TEXT NOT NULL,
    formula TEXT NOT NULL,
    digest TEXT NOT NULL,            -- SHA-256 of lattice, coordinates and species
    request INTEGER,                 -- number of the request that it was drawn for
    score REAL,                      -- of the acquisition
    predicted TEXT NOT NULL,         -- JSON: name to mean and standard deviation
    crystal TEXT,                    -- JSON; not of those that were dropped
    rank INTEGER,                    -- among the chosen of its round, from 1
    key TEXT UNIQUE                  -- of the evaluation; of the chosen alone
);
CREATE INDEX candidates_by_round ON candidates (round, place);
CREATE TABLE answers (
    number INTEGER PRIMARY KEY,      -- in the order in which they came, from 1
    key TEXT NOT NULL UNIQUE REFERENCES candidates (key),
    problem TEXT NOT NULL,           -- why the evaluation failed; empty where it did not
    numbers TEXT NOT NULL,           -- JSON: name to value
    crystal TEXT,                    -- JSON; the relaxed one
    facts TEXT NOT NULL,             -- JSON: where the numbers come from
    time TEXT NOT NULL               -- when it was written, UTC
);
"""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open a ledger, and make an empty one where there is none.

    Raises:
        ValueError: If it is another file, damaged, or of a newer version of this package.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _named(path):
        connection = sqlite3.connect(path, timeout=_BUSY)
        try:
            connection.isolation_level = None
            if sqlite.pragma(connection, "schema_version") == 0:
                with sqlite.transaction(connection):
                    sqlite.make_tables(connection, _TABLES, APPLICATION, SCHEMA)
            _check_is_ours(connection, path)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_mode = WAL")  # stays as it is where that fails
        except BaseException:
            connection.close()
            raise
    return connection


def close_for_good(connection: sqlite3.Connection) -> None:
    """Close what :func:`open_for_writing` opened; the log is folded in where nobody reads."""
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Keep all that is written in a block, or nothing of it."""
    with _named(path), sqlite.transaction(connection):
        yield


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a ledger for reading alone, also while it is being written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file, damaged, or of a newer version of this package.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no design run in {path.parent} (it would hold {path.name}); crysdiff design --out "
            f"{path.parent} starts one"
        )
    with _named(path), closing(_readable(path)) as connection:
        _check_is_ours(connection, path)
        connection.execute("BEGIN")  # all that is asked in one block is of one moment
        yield connection


def _readable(path: Path) -> sqlite3.Connection:
    """Open for reading; a folder that may not be written to takes no shared memory of the log."""
    if sqlite.half_written(path):
        with suppress(sqlite3.OperationalError):  # of a folder that may not be written to
            sqlite.take_back(path, _BUSY)
    for option in ("", "&immutable=1"):
        name = f"file:{quote(str(path.absolute()))}?mode=ro{option}"
        connection = sqlite3.connect(name, uri=True, timeout=_BUSY, isolation_level=None)
        try:
            sqlite.pragma(connection, "schema_version")  # touches the file
        except sqlite3.OperationalError as error:
            connection.close()
            is_closed = error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))
            if option or not is_closed:
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise AssertionError("one of the two returns or raises")


def _check_is_ours(connection: sqlite3.Connection, path: Path) -> None:
    sqlite.refuse_empty(connection, path)
    if sqlite.pragma(connection, "application_id") != APPLICATION:
        raise ValueError(f"{path} is an SQLite file of another program, and no ledger of a design")
    if (version := sqlite.pragma(connection, "user_version")) != SCHEMA:
        raise ValueError(
            f"{path} has version {version} of the ledger's tables, and this release reads version "
            f"{SCHEMA}: update pyg_crysdiff"
        )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ones that name the file and say what to do."""
    own: sqlite3.IntegrityError | None = None
    with sqlite.named_errors(
        path, busy="is in use", damaged="copy it again, or choose another output folder"
    ):
        try:
            yield
        except sqlite3.IntegrityError as error:  # of our own making
            own = error
    if own is not None:
        raise own
