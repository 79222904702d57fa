"""Reading sample files for a command, with a word on what could not be read."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    from pyg_crysdiff.data.readers import read_and_tell  # noqa: PLC0415

    return read_and_tell(path, say)


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


def with_values(crystals: Sequence[Crystal], path: str | Path, name: str) -> list[Crystal]:
    """Give crystals of :func:`read_references` the values of a property that stand in their file.

    A file without the property leaves them as they are, which is said on the screen.

    Args:
        crystals: All crystals of the file, in its order.
        path: The file.
        name: Property; it is looked for where :func:`pyg_crysdiff.data.load_dataset` does.
    """
    from pyg_crysdiff.data.parsing import read_entries  # noqa: PLC0415
    from pyg_crysdiff.storage import user_path  # noqa: PLC0415

    try:
        entries = read_entries(user_path(path), [name]).entries
    except ValueError:
        say(f"{path} has no {name!r}: nothing is measured against its values")
        return list(crystals)
    return [
        replace(crystal, info={**crystal.info, name: entry.properties.get(name, math.nan)})
        for crystal, entry in zip(crystals, entries, strict=False)
    ]


@dataclass(frozen=True)
class NamedFile:
    """A sample file of a command line.

    Attributes:
        path: As it was given.
        name: The end of its path, as long as it must be to differ from the others.
        stem: The name as the name of a file, without ending.
    """

    path: str
    name: str
    stem: str


def named_files(paths: Sequence[str], taken: Sequence[str] = ("results",)) -> list[NamedFile]:
    """Give every file a name of its own: ``r1/samples.pt`` and ``r2/samples.pt``.

    A file that is given twice is taken once, which is said on the screen.

    Args:
        paths: Files and folders.
        taken: Names that files in the output folder have already.
    """
    from pyg_crysdiff.storage import file_name  # noqa: PLC0415

    once: dict[Path, str] = {}
    for path in paths:
        place = Path(os.path.abspath(path))  # noqa: PTH100 (a link has a name of its own)
        if place in once:
            say(f"{path}: given twice, taken once")
        once.setdefault(place, path)
    stems = set(taken)
    out = []
    for place, path in once.items():
        name = _shortest(place, [other for other in once if other != place])
        first = stem = file_name(name)
        number = 1
        while stem.casefold() in stems:
            number += 1
            stem = f"{first}-{number}"
        stems.add(stem.casefold())
        out.append(NamedFile(path, name, stem))
    return out


def _shortest(place: Path, others: Sequence[Path]) -> str:
    """Return the shortest end of a path that no other path has."""
    parts = place.parts
    for length in range(1, len(parts) + 1):
        end = parts[-length:]
        if all(other.parts[-length:] != end for other in others):
            return "/".join(end).replace("//", "/")
    return str(place)
