"""Names of files: those that a person gives, and those that are made of any text."""

from __future__ import annotations

import hashlib
from pathlib import Path

_KEPT = " .,+=%@()_-"
_LONGEST = 150  # bytes; with temporary endings below the 255 that file systems take


def user_path(path: str | Path) -> Path:
    """Return a path with ``~`` for the user's home; a name that only begins with ``~`` stays."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user
        return Path(path)


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
