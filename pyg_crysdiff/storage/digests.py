"""Digests: short texts that tell whether files or settings are still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


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


def digest_of(parts: Iterable[str | bytes]) -> str:
    """Return the SHA-256 of texts and bytes, one after the other, as hex."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()


def facts_digest(facts: Any, more: Iterable[str | bytes] = ()) -> str:
    """Return the SHA-256 of settings, as hex; the order of keys in a mapping does not matter.

    Args:
        facts: Plain containers; what JSON does not know counts by its ``str``.
        more: Texts and bytes that follow them, such as the digests of crystals.
    """
    return digest_of([json.dumps(facts, sort_keys=True, default=str), *more])
