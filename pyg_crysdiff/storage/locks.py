"""One writer per folder."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pyg_crysdiff.storage.reading import read_json
from pyg_crysdiff.storage.writing import write_json

_LOCK = ".lock"
_WRITER = ".writer"
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp(\..*)?")  # as `replacing` names them


@contextmanager
def only_writer(folder: str | Path, *, name: str = "") -> Iterator[None]:
    """Hold the right to write into a folder; a second process is refused.

    The operating system drops the lock when its holder ends, however it ends, so that no lock is
    ever stale. Beside it stands who holds it, for the message. What a killed holder has left
    half-written is removed.

    Args:
        folder: Folder; it is made if need be.
        name: Part of the folder that is locked, where several processes may share it.

    Raises:
        ValueError: If another process, or another thread of this one, holds the lock; the message
            says which.
        OSError: If the folder cannot be written to.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{_LOCK}{name}", timeout=0)
    writer = folder / f"{_WRITER}{name}.json"
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"{folder} is being written by {_holder(writer)}; wait until it has ended, or choose "
            "another output folder"
        ) from None
    try:
        writer.unlink(missing_ok=True)
        if not name:
            _sweep(folder)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(writer, {"host": socket.gethostname(), "process": os.getpid(), "since": since})
        yield
    finally:
        with suppress(OSError):
            writer.unlink(missing_ok=True)
        lock.release()


def _sweep(folder: Path) -> None:
    """Remove the halves of files that a killed writer left; not where somebody writes now."""
    for place, inner, files in os.walk(folder):
        if any(name.startswith(_WRITER) for name in files):
            inner.clear()
            continue
        for name in files:
            if _TEMPORARY.fullmatch(name):
                Path(place, name).unlink(missing_ok=True)


def _holder(writer: Path) -> str:
    """Say who holds a lock; a file that is just being written says nothing."""
    try:
        facts = read_json(writer)
        return f"process {facts['process']} on {facts['host']} (since {facts['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
