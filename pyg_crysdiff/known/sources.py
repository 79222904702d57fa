"""What can be added to a database: files of every kind that is read, data sets, databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.entries import RawEntry
from pyg_crysdiff.data.names import DATASET_NAMES
from pyg_crysdiff.data.streams import stream_entries
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.known.files import is_sqlite
from pyg_crysdiff.storage import content_digest, digest_of, file_digest, user_path

PARTS = ("train", "val", "test")
_DATABASES = (".sqlite", ".sqlite3")
Item = RawEntry | Crystal | BrokenEntry


@dataclass(frozen=True)
class Source:
    """A file, folder or part of a data set, whose crystals can be added.

    Attributes:
        name: What a person calls it.
        digest: Digest of its content.
        items: Makes an iterator over its entries, parsed or not, in order.
    """

    name: str
    digest: str
    items: Callable[[], Iterator[Item]]


def is_database(path: str | Path) -> bool:
    """Whether it is an SQLite file, or has the name of one."""
    file = user_path(path)
    return file.name.lower().endswith(_DATABASES) or (file.is_file() and is_sqlite(file))


def open_source(name: str | Path, **options: Any) -> list[Source]:
    """Open what a person named: a data set (all its parts), a file, a folder or a database.

    Args:
        name: ``demo``, ``carbon24``, ``perov5``, ``mp20``, or a path.
        **options: Options of :func:`pyg_crysdiff.data.load_dataset` for a data set.

    Raises:
        FileNotFoundError: If there is nothing of that name.
    """
    if str(name) in DATASET_NAMES:
        return [_part(str(name), part, options) for part in PARTS]
    path = user_path(name)
    if not path.exists():
        raise FileNotFoundError(
            f"{name}: no file or folder, and no data set ({', '.join(DATASET_NAMES)})"
        )
    if is_database(path):
        database = Database(path)
        return [Source(str(name), database.digest(), database.crystals)]
    if path.name.lower().endswith((".pt", ".pth")) and path.is_file():
        return [Source(str(name), file_digest(path), partial(_tensors, path))]
    digest = content_digest(path) if path.is_dir() else file_digest(path)
    return [Source(str(name), digest, partial(stream_entries, path))]


def _part(name: str, part: str, options: dict[str, Any]) -> Source:
    from pyg_crysdiff.data import load_dataset  # noqa: PLC0415  (imports PyG)

    crystals = load_dataset(name, part, **options).crystals()
    digest = digest_of(crystal.digest() for crystal in crystals)
    return Source(f"{name} {part}", digest, crystals.__iter__)


def _tensors(path: Path) -> Iterator[Item]:
    from pyg_crysdiff.data.formats.tensors import read_tensors  # noqa: PLC0415

    yield from read_tensors(path, 0)
