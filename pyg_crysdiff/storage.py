"""Keeping files: written whole or not at all, read with a clear error, one writer per folder.

Everything that this package leaves on disk goes through this module, so that a kill, a full disk
or a second process never leaves half a file behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib.npyio import NpzFile

_LOCK = ".lock"
_KEPT = " .,+=%@()_-"
_LONGEST = 150  # bytes; with temporary endings below the 255 that file systems take
_WRITER = ".writer"
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp(\..*)?")  # as `replacing` names them


@contextmanager
def replacing(path: str | Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary file that takes the place of ``path`` once the block ends without error.

    The temporary file lies in the same folder, has a name of its own and the same suffix. It is
    flushed to the disk before it takes the place. After an error it is removed and ``path`` is
    as it was.

    Args:
        path: Target; its folder is made if need be.
        flush: Wait for the disk. Without it a file survives the end of its process, but not that
            of the machine: for many small files that can be made again.

    Raises:
        OSError: If the folder cannot be written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = f".{os.getpid()}-{secrets.token_hex(4)}.tmp"
    temporary = path.with_name(f".{path.name}{unique}{path.suffix}")
    try:
        with _named(path):
            yield temporary
            if flush:
                with temporary.open("rb+") as handle:
                    os.fsync(handle.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give errors of the disk, which say "No space left on device", the name of the file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def write_text(path: str | Path, text: str, *, flush: bool = True) -> None:
    """Write a UTF-8 text file, whole or not at all; line ends as they are.

    Args:
        path: Target.
        text: Content.
        flush: See :func:`replacing`.
    """
    with replacing(path, flush=flush) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def append_text(path: str | Path, text: str) -> None:
    """Add text to the end of a UTF-8 file; what a kill may cut off is the end of this text."""
    path = Path(path)
    with _named(path), path.open("a", encoding="utf-8", newline="") as handle:
        handle.write(text)


def write_from(path: str | Path, start: int, content: bytes) -> int:
    """Let a growing file go on with ``content`` at byte ``start``.

    Where it stands there already nothing is written, so that work which is done again after a
    crash costs reading alone; else it takes the place of all that follows.

    Returns:
        Where the content ends.
    """
    path = Path(path)
    with _named(path), path.open("r+b" if path.exists() else "w+b") as handle:
        handle.seek(start)
        if handle.read(len(content)) != content:
            handle.seek(start)
            handle.truncate()
            handle.write(content)
    return start + len(content)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged; the message names it.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        size = path.stat().st_size
        raise ValueError(
            f"{path} is damaged ({size} bytes, not valid JSON: {error}); delete it or copy it again"
        ) from error


def user_path(path: str | Path) -> Path:
    """Return a path with ``~`` for the user's home; a name that only begins with ``~`` stays."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user
        return Path(path)


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds one object; errors are those of :func:`read_json`."""
    record = read_json(path)
    if not isinstance(record, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object; delete it or copy it again")
    return record


@contextmanager
def load_arrays(path: str | Path) -> Iterator[NpzFile]:
    """Open the arrays of an ``.npz`` file; nothing in it is executed.

    The file is closed in any case: of one that it cannot read, NumPy leaves it open.
    """
    with Path(path).open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
        yield arrays


def file_digest(path: str | Path) -> str:
    """Return a file's SHA-256 as hex."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def content_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file and its name, or of all files below a folder with theirs.

    Raises:
        FileNotFoundError: If the path does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}")
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            digest.update(f"{name}\0{file_digest(file)}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def check_same(
    path: str | Path,
    now: Mapping[str, Any],
    *,
    what: str,
    free: Sequence[str] = (),
    older: Mapping[str, Any] | None = None,
) -> None:
    """Check that a folder's record fits what is to be done there, and write it if there is none.

    Args:
        path: JSON file with the record, one object.
        now: What is to be done; JSON-able.
        what: What the folder holds, for the message: "samples of another request".
        free: Fields that may differ.
        older: What fields were before records had them; None where a field is not named.

    Raises:
        ValueError: If a field differs (the message names the fields), or the file is damaged.
    """
    path, current = Path(path), json.loads(json.dumps(now))
    if not path.is_file():
        write_json(path, current)
        return
    before = read_record(path)
    was, now = {**(older or {}), **before}, {**(older or {}), **current}
    different = sorted(k for k in {*now, *was} if now.get(k) != was.get(k))
    if hard := [k for k in different if k not in free]:
        raise ValueError(
            f"{path.parent} holds {what} (different: {hard}); choose another output folder or "
            "delete this one"
        )
    if before != current:
        write_json(path, current)


def file_name(text: str) -> str:
    """Return a name of any kind as the name of a file, which lies in its folder on every system.

    Letters and digits of all scripts, spaces and ``.,+=%@()_-`` stay; a long name is cut, and
    ends in a digest then.

    Raises:
        ValueError: If nothing is left of it.
    """
    kept = "".join(c if c.isalnum() or c in _KEPT else "-" for c in text).strip(" .")
    if not kept.strip("-"):
        raise ValueError(f"the name {text!r} cannot name a file; use letters or digits")
    if len(kept.encode()) > _LONGEST:
        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
        start = kept.encode()[: _LONGEST - 9].decode(errors="ignore")
        return f"{start}-{digest}"
    return kept


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
