"""What all SQLite files of this package share: transactions, marks, errors that name the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return a number that SQLite keeps, such as ``user_version``; reading one touches the file."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def half_written(path: Path) -> bool:
    """Whether a writer was killed within a transaction, so that its half can be taken back."""
    journal = path.with_name(f"{path.name}-journal")
    return journal.is_file() and journal.stat().st_size > 0


def take_back(path: Path, timeout: float) -> None:
    """Take back the half of a transaction whose writer was killed; who only reads cannot.

    Args:
        path: The file.
        timeout: Seconds to wait for other writers.
    """
    with closing(sqlite3.connect(path, timeout=timeout)) as connection:
        pragma(connection, "schema_version")


def refuse_empty(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file without tables, which is what a writer leaves that was killed at its start.

    Raises:
        ValueError: If there are none.
    """
    if pragma(connection, "schema_version") == 0:
        raise ValueError(
            f"{path} holds nothing yet: the command that makes it was interrupted, or has just "
            "begun; run it again"
        )


def make_tables(connection: sqlite3.Connection, tables: str, application: int, schema: int) -> None:
    """Make tables, and mark the file as that of an application, within a transaction."""
    for statement in tables.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {application}")
    connection.execute(f"PRAGMA user_version = {schema}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep all that is written in a block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def named_errors(path: Path, *, busy: str, unwritable: str = "", damaged: str) -> Iterator[None]:
    """Turn SQLite's errors into ones that name the file and say what to do.

    Args:
        path: The file.
        busy: What another process does with it.
        unwritable: What else may be the matter where it cannot be opened.
        damaged: What to do where it is damaged.

    Raises:
        ValueError: If the file is busy or damaged.
        PermissionError: If it cannot be opened.
        OSError: If the disk is full or fails.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise ValueError(f"{path} {busy} by another process; try again") from error
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            raise PermissionError(
                f"{path} cannot be opened ({error}): it or its folder may not be written to"
                f"{unwritable}"
            ) from error
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            raise OSError(f"{path}: {error}") from error
        raise ValueError(f"{path} is damaged ({error}): {damaged}") from error
