"""Files of a folder, zip or tar, and packed files: read within bounds."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

ARCHIVE_SUFFIXES = (
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz",
)  # fmt: skip
PACKED: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open, ".tgz": gzip.open, ".bz2": bz2.open, ".tbz2": bz2.open, ".xz": lzma.open,
    ".txz": lzma.open,
}  # fmt: skip
# Left behind by systems and editors.
_NOT_DATA = re.compile(r"(^|/)(\.|__MACOSX/|#)|(~|\.bak|\.orig|\.swp|\.tmp)$")
# Text of crystals packs to a tenth or so; what unpacks to more than this is no data.
_MOST_UNPACKED = 64
_ALWAYS_UNPACKED = 64 * 2**20
_CHUNK = 2**20
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
    NotImplementedError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file of a folder or archive: its name within, with ``/``, and a way to its content."""

    name: str
    read: Callable[[], bytes]


def is_archive(name: str) -> bool:
    """Whether a name is that of a zip or tar file."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def read_file(path: Path) -> bytes:
    """Return the content of a file, unpacked where its name ends with .gz, .bz2 or .xz.

    Raises:
        ValueError: If it cannot be unpacked, or unpacks to more than such a file can hold.
    """
    return unpack(path.read_bytes(), path.name)


def unpack(data: bytes, name: str) -> bytes:
    """Unpack bytes by the name of their file; see :func:`read_file`."""
    opener = PACKED.get(PurePosixPath(name).suffix.lower())
    if opener is None:
        return data
    limit = _limit(len(data))
    out = io.BytesIO()
    try:
        with opener(io.BytesIO(data)) as handle:
            while chunk := handle.read(_CHUNK):
                out.write(chunk)
                if out.tell() > limit:
                    raise ValueError(_too_large(name, len(data)))
    except DAMAGE as error:
        raise ValueError(f"{name} is damaged or incomplete ({error}); copy it again") from error
    return out.getvalue()


def _limit(packed: int) -> int:
    return max(_ALWAYS_UNPACKED, _MOST_UNPACKED * packed)


def _too_large(name: str, packed: int) -> str:
    return (
        f"{name} ({packed / 2**20:.1f} MiB) unpacks to more than {_limit(packed) / 2**20:.0f} MiB, "
        "which no file of crystals does; it was not read"
    )


class _Unpacked(io.RawIOBase):
    """Bytes of a file as they are unpacked, with the bounds and the errors of :func:`unpack`."""

    def __init__(self, path: Path) -> None:
        self._name, self._packed = path.name, path.stat().st_size
        self._is_packed = PurePosixPath(path.name).suffix.lower() in PACKED
        opener = PACKED.get(PurePosixPath(path.name).suffix.lower(), open)
        self._handle = opener(path, "rb")
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        try:
            chunk = self._handle.read(len(target))
        except DAMAGE as error:
            raise ValueError(
                f"{self._name} is damaged or incomplete ({error}); copy it again"
            ) from error
        self._read += len(chunk)
        if self._is_packed and self._read > _limit(self._packed):
            raise ValueError(_too_large(self._name, self._packed))
        target[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._handle.close()
        super().close()


def open_unpacked(path: Path) -> io.BufferedReader:
    """Open a file, unpacked where its name ends with .gz, .bz2 or .xz, to be read bit by bit.

    Its errors are those of :func:`read_file`.
    """
    return io.BufferedReader(_Unpacked(path), _CHUNK)


def members_of(path: Path) -> list[Member]:
    """List the files of a folder or archive that may be data, in natural order.

    Raises:
        ValueError: If an archive is damaged or unpacks to an absurd size.
    """
    if path.is_dir():
        found = [
            Member(f.relative_to(path).as_posix(), f.read_bytes)
            for f in path.rglob("*")
            if f.is_file()
        ]
        return _visible(found)
    return archive_members(path.read_bytes(), path.name)


def archive_members(data: bytes, name: str) -> list[Member]:
    """List the files of an archive that may be data; see :func:`members_of`."""
    try:
        if name.lower().endswith(".zip"):
            return _visible(_zip_members(data, name))
        return _visible(_tar_members(unpack(data, name), name, len(data)))
    except DAMAGE as error:
        raise ValueError(f"{name} is damaged or incomplete ({error}); copy it again") from error


def _zip_members(data: bytes, name: str) -> list[Member]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if sum(info.file_size for info in infos) > _limit(len(data)):
        raise ValueError(_too_large(name, len(data)))
    return [Member(i.filename.replace("\\", "/"), partial(archive.read, i)) for i in infos]


def _tar_members(data: bytes, name: str, packed: int) -> list[Member]:
    archive = tarfile.open(fileobj=io.BytesIO(data))  # noqa: SIM115  # its members are read later
    infos = [info for info in archive.getmembers() if info.isfile()]
    if sum(info.size for info in infos) > _limit(packed):
        raise ValueError(_too_large(name, packed))

    def content(info: tarfile.TarInfo) -> bytes:
        handle = archive.extractfile(info)
        return b"" if handle is None else handle.read()

    return [Member(i.name.removeprefix("./"), partial(content, i)) for i in infos]


def _visible(members: Iterable[Member]) -> list[Member]:
    shown = [member for member in members if not _NOT_DATA.search(member.name)]
    return sorted(shown, key=lambda member: natural(member.name))


def natural(name: str) -> list[tuple[int, int | str]]:
    """Return a key that sorts ``gen_2`` before ``gen_10``."""
    runs = groupby(name, lambda sign: sign.isascii() and sign.isdigit())
    return [(0, int("".join(s))) if digits else (1, "".join(s)) for digits, s in runs]


def unpacked_name(name: str) -> str:
    """Return a name without .gz, .bz2 or .xz."""
    suffix = PurePosixPath(name).suffix.lower()
    return name[: -len(suffix)] if suffix in (".gz", ".bz2", ".xz") else name
