"""Structure files wherever they lie: single, in a folder, in a zip or tar, packed or not.

One set of rules for all of them, so that a folder and its archive hold the same crystals.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pyg_crysdiff.data.archives import (
    ARCHIVE_SUFFIXES,
    DAMAGE,
    PACKED,
    Member,
    archive_members,
    is_archive,
    members_of,
    natural,
    read_file,
    unpack,
    unpacked_name,
)
from pyg_crysdiff.data.entries import RawEntry
from pyg_crysdiff.data.formats.ase_files import ase_entries, is_ase
from pyg_crysdiff.data.formats.cif_text import may_hold_atoms, split_blocks
from pyg_crysdiff.data.formats.extxyz import split_frames
from pyg_crysdiff.data.formats.structures_json import load_json, structure_rows
from pyg_crysdiff.data.texts import decode
from pyg_crysdiff.errors import first_line

log = logging.getLogger(__name__)
STRUCTURE_SUFFIXES = (".cif", ".vasp", ".poscar", ".extxyz", ".xyz")
_FORMATS = {
    ".cif": "cif", ".vasp": "poscar", ".poscar": "poscar", ".extxyz": "extxyz", ".xyz": "extxyz",
}  # fmt: skip
_OTHER_DATA = (".pt", ".pth", ".json", ".jsonl", ".csv", ".npz", ".db", ".traj")
_VASP = re.compile(r"(POSCAR|CONTCAR)([._-].*|\d+)?", re.IGNORECASE)


def format_of(name: str) -> str | None:
    """Return ``cif``, ``poscar`` or ``extxyz`` by the name of a file; None for another kind."""
    base = unpacked_name(name.rsplit("/", 1)[-1])
    suffix = PurePosixPath(base).suffix.lower()
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    if suffix in (*_OTHER_DATA, *PACKED, *ARCHIVE_SUFFIXES):
        return None
    return "poscar" if _VASP.fullmatch(base) else None


def structure_entries(members: list[Member], where: str) -> list[RawEntry]:
    """Return one entry per crystal of the structure files of a folder or archive.

    Files in sub-folders are read too. What may be copies of the same crystals is not read twice:

    * beside a file of several crystals neither sub-folders nor archives are read;
    * an archive is read only where there are no structure files and no other archive;
    * a CONTCAR is read, and not the POSCAR that it came from.

    What is left out is said in the log.

    Args:
        members: Files, see :func:`members_of`.
        where: Folder or archive, for messages.

    Raises:
        ValueError: If there are no structure files, or files of several crystals beside files of
            another format, or several archives: the message says what to name instead.
    """
    top = _common_folder(members)
    files = _without_starts([m for m in members if format_of(m.name)], where)
    nested = [m for m in files if "/" in m.name.removeprefix(top)]
    own = {m.name: _entries_or_problem(m) for m in files if m not in nested}
    collections = [name for name, entries in own.items() if len(entries) > 1]
    if collections and len({format_of(name) for name in own}) > 1:
        raise ValueError(
            f"{where} holds files of several crystals beside files of another format "
            f"({', '.join(list(own)[:4])}), which may be copies; name the file to read"
        )
    archives = [m for m in members if is_archive(m.name)]
    if collections and nested:
        folders = sorted({m.name.removeprefix(top).split("/")[0] for m in nested})
        _say_left_out(where, [f"{folder}/" for folder in folders], collections[0])
        nested = []
    if (own or nested) and archives:
        _say_left_out(where, [m.name for m in archives], (collections or ["structure files"])[0])
    elif archives:
        if len(archives) > 1:
            names = ", ".join(m.name for m in archives[:4])
            raise ValueError(f"{where} holds several archives ({names}); name the one to read")
        inner = archive_members(archives[0].read(), archives[0].name)
        return structure_entries(inner, f"{where}, {archives[0].name}")
    own |= {m.name: _entries_or_problem(m) for m in nested}
    if not own:
        raise ValueError(_nothing_in(members, where))
    found = [entry for name in sorted(own, key=natural) for entry in own[name]]
    return [replace(entry, row=row) for row, entry in enumerate(found)]


def _common_folder(members: list[Member]) -> str:
    """Return the one folder, with ``/``, that all files lie in, as archives often have it."""
    tops = {m.name.split("/")[0] if "/" in m.name else "" for m in members}
    return f"{tops.pop()}/" if len(tops) == 1 and "" not in tops else ""


def _without_starts(files: list[Member], where: str) -> list[Member]:
    """Leave out every POSCAR whose CONTCAR lies beside it."""
    names = {m.name for m in files}
    starts = [n for n in names if n.endswith("POSCAR") and n[: -len("POSCAR")] + "CONTCAR" in names]
    if starts:
        _say_left_out(where, sorted(starts), "the CONTCAR beside each")
    return [m for m in files if m.name not in starts]


def _say_left_out(where: str, names: list[str], read: str) -> None:
    shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
    log.warning("%s: left out %s, since %s was read; name one to read it", where, shown, read)


def _nothing_in(members: list[Member], where: str) -> str:
    other = [m.name for m in members if m.name.lower().endswith((*_OTHER_DATA, ".csv.gz"))]
    hint = f"; it holds {', '.join(other[:4])}: name the file to read" if other else ""
    return f"{where} holds no structure files ({', '.join(STRUCTURE_SUFFIXES)}){hint}"


def _entries_or_problem(member: Member) -> list[RawEntry]:
    try:
        return file_entries(member.name, member.read())
    except (ValueError, *DAMAGE) as error:
        fmt = format_of(member.name) or ""
        return [RawEntry("", fmt, member.name, 0, member.name, {}, problem=first_line(error))]


def entries_in(path: Path) -> list[RawEntry] | None:
    """Return one entry per crystal of a folder, an archive, a JSON, ASE or structure file.

    Returns:
        The entries; None for a file of another kind.

    Raises:
        ValueError: If it as a whole cannot be read; see the functions for each kind.
    """
    if path.is_dir() or is_archive(path.name):
        return structure_entries(members_of(path), str(path))
    if is_json(path.name):
        return json_entries(path)
    if is_ase(path.name):
        return list(ase_entries(path))
    if format_of(path.name):
        return file_entries(path.name, path.read_bytes())
    return None


def file_entries(name: str, data: bytes) -> list[RawEntry]:
    """Return one entry per crystal of one structure file.

    Args:
        name: Name of the file; it decides the format.
        data: Content, as on the disk.

    Raises:
        ValueError: If the content is no text, cannot be unpacked or cut into crystals.
    """
    fmt = format_of(name) or ""
    text = decode(unpack(data, name), name)
    if fmt == "extxyz":
        texts = split_frames(text, name)
        if not texts:
            raise ValueError(f"{name} is empty: it holds no frames")
    elif fmt == "cif":
        # A block without atoms (of the publication, of the experiment) is no crystal.
        texts = [block for block in split_blocks(text) if may_hold_atoms(block)] or [text]
    else:
        texts = [text]
    if len(texts) == 1:
        return [RawEntry(texts[0], fmt, name, 0, name, {})]
    return [
        RawEntry(part, fmt, f"{name}, entry {i}", i, f"{name}:{i}", {})
        for i, part in enumerate(texts)
    ]


def is_json(name: str) -> bool:
    """Whether a name is that of a JSON file, perhaps packed."""
    return unpacked_name(name.lower()).endswith((".json", ".jsonl"))


def is_table(name: str) -> bool:
    """Whether a name is that of a CSV file, perhaps packed."""
    return unpacked_name(name.lower()).endswith(".csv")


def json_entries(path: Path) -> list[RawEntry]:
    """Return one entry per structure of a JSON file, with the numbers beside it.

    Raises:
        ValueError: If it is no JSON, or its layout holds no structures.
    """
    content = load_json(decode(read_file(path), str(path)), str(path))
    return [
        RawEntry(row.text, row.fmt, f"{path.name}, entry {i}", i, row.name, row.properties)
        for i, row in enumerate(structure_rows(content, str(path)))
    ]
