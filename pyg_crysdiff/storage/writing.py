"""Files that appear whole or not at all, and files that grow."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_OWNER_ALONE = 0o600


@contextmanager
def replacing(path: str | Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary file that takes the place of ``path`` once the block ends without error.

    The temporary file lies in the same folder, has a name of its own and the same suffix. It is
    flushed to the disk before it takes the place, and gets the mode of any new file. After an error
    it is removed and ``path`` is as it was.

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
            _as_a_new_file(temporary)
            if flush:
                with temporary.open("rb+") as handle:
                    os.fsync(handle.fileno())
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _as_a_new_file(path: Path) -> None:
    """Give a file that a library made for its owner alone the mode that new files have here."""
    if path.stat().st_mode & 0o777 != _OWNER_ALONE:
        return
    probe = path.with_name(f"{path.name}.mode")  # what the umask leaves cannot be asked otherwise
    probe.touch()
    try:
        path.chmod(probe.stat().st_mode & 0o777)
    finally:
        probe.unlink()


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
