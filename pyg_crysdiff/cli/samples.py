"""Reading sample files for a command, with a word on what could not be read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyg_crysdiff.cli.ending import say

if TYPE_CHECKING:
    from pyg_crysdiff.data import BrokenEntry, Crystal


def read_samples(path: str | Path) -> list[Crystal | BrokenEntry]:
    """Read a file or folder; entries that cannot be read are counted on the screen.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it as a whole cannot be read.
    """
    from pyg_crysdiff.data import read_crystals  # noqa: PLC0415
    from pyg_crysdiff.data.readers import unreadable_line  # noqa: PLC0415

    entries = read_crystals(path)
    if (line := unreadable_line(entries, path)) is not None:
        say(f"{path}: {line}")
    return entries


def read_references(path: str | Path) -> list[Crystal]:
    """Read a file of which every entry must be readable, since results are measured against it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If an entry cannot be read.
    """
    from pyg_crysdiff.data import Crystal, read_crystals  # noqa: PLC0415
    from pyg_crysdiff.data.readers import unreadable_line  # noqa: PLC0415

    entries = read_crystals(path)
    if (line := unreadable_line(entries, path)) is not None:
        raise ValueError(f"{path}: {line}; repair or remove them, results are measured against it")
    return [entry for entry in entries if isinstance(entry, Crystal)]
