"""Reading anybody's sample files: one list of crystals, broken entries in their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pyg_crysdiff.data.cif_tables import read_table
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.entries import RawEntry
from pyg_crysdiff.data.formats.parquet import parquet_entries
from pyg_crysdiff.data.formats.tensors import read_tensors
from pyg_crysdiff.data.parsing import parse_entries
from pyg_crysdiff.data.sources import entries_in, is_table
from pyg_crysdiff.storage import user_path

Entry = Crystal | BrokenEntry


def read_crystals(
    path: str | Path, *, evaluation: int = 0, num_workers: int | None = None
) -> list[Entry]:
    """Read the crystals of a file or folder as they were written: order kept, nothing reduced.

    Formats: the tensor files (``.pt``) of CDVAE, SyMat, DiffCSP and FlowMM with or without the
    leading axis of evaluations; extended XYZ (MatterGen and this package), CIF and POSCAR;
    folders, zip and tar archives of these (CrystaLLM, MatterGen), where
    :func:`pyg_crysdiff.data.sources.structure_entries` says which files count; CSV with a CIF
    column; JSON of pymatgen structures, also as pandas and matbench write it; ASE's trajectories
    and databases (``.traj``, ``.db``); Parquet (see :mod:`pyg_crysdiff.data.formats.parquet`).
    Text may be packed (``.gz``, ``.bz2``, ``.xz``). Nothing in a file is executed.

    Args:
        path: File or folder.
        evaluation: Which one, where a tensor file holds several.
        num_workers: Processes for parsing text; None for all cores.

    Returns:
        A :class:`Crystal`, or a :class:`BrokenEntry` with the reason, for every entry.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If the whole file is damaged, empty, or of an unknown kind.
    """
    path = user_path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}")
    if path.name.lower().endswith((".pt", ".pth")) and not path.is_dir():
        return read_tensors(path, evaluation)
    entries = _entries_of(path)
    if not entries:
        raise ValueError(f"{path} holds no structures")
    return parse_entries(entries, num_workers=num_workers, label=f"reading {path.name}")


def _entries_of(path: Path) -> list[RawEntry]:
    if is_table(path.name) and not path.is_dir():
        return read_table(path, properties=[]).entries
    if path.name.lower().endswith(".parquet") and not path.is_dir():
        return list(parquet_entries(path))
    if (entries := entries_in(path)) is not None:
        return entries
    raise ValueError(f"{path}: unknown kind of file; see read_crystals for the formats")


def read_and_tell(path: str | Path, say: Callable[[str], None]) -> list[Entry]:
    """Read crystals as :func:`read_crystals` does, and say what could not be read."""
    entries = read_crystals(path)
    if (line := unreadable_line(entries, path)) is not None:
        say(f"{path}: {line}")
    return entries


def unreadable_line(entries: Sequence[Entry], path: str | Path) -> str | None:
    """Return one line on the entries that could not be read; None where all could.

    Args:
        entries: What :func:`read_crystals` returned.
        path: The file or folder, named where an entry does not say its source.
    """
    broken = [entry for entry in entries if isinstance(entry, BrokenEntry)]
    if not broken:
        return None
    first = broken[0]
    return (
        f"{len(broken)} of {len(entries)} entries unreadable, first: "
        f"{first.source or path}: {first.reason}"
    )
