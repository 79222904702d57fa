"""Reading anybody's sample files: one list of crystals, broken entries in their place."""

from __future__ import annotations

import argparse
import datetime as dt
import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.parsing import STRUCTURE_SUFFIXES, RawEntry, parse_entries, read_table

Entry = Crystal | BrokenEntry
_HARMLESS: list[Any] = [argparse.Namespace, dt.timedelta, dt.datetime, np.dtype, np.ndarray]


def read_crystals(
    path: str | Path, *, evaluation: int = 0, num_workers: int | None = None
) -> list[Entry]:
    """Read the crystals of a file or folder as they were written: order kept, nothing reduced.

    Formats: the tensor files (``.pt``) of CDVAE, SyMat, DiffCSP and FlowMM with or without the
    leading axis of evaluations; extended XYZ (MatterGen and this package); CIF files, and
    folders, zip or tar archives of CIF or POSCAR files (CrystaLLM, MatterGen); CSV with a CIF
    column; JSON and JSON.gz of pymatgen structures. Nothing in a file is executed.

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
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}")
    name = "/" if path.is_dir() else path.name.lower()
    if path.name.upper().startswith(("POSCAR", "CONTCAR")):
        name = ".poscar"
    reader = next((read for suffixes, read in _READERS if name.endswith(suffixes)), None)
    if reader is None:
        raise ValueError(f"{path}: unknown kind of file; see read_crystals for the formats")
    if reader is _read_tensors:
        return _read_tensors(path, evaluation)
    try:
        found = reader(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged or incomplete ({error}); copy it again") from error
    entries = [item for item in found if isinstance(item, RawEntry)]
    parsed = iter(parse_entries(entries, num_workers=num_workers, label=f"reading {path.name}"))
    out = [next(parsed) if isinstance(item, RawEntry) else item for item in found]
    if not out:
        raise ValueError(f"{path} holds no structures")
    return [
        BrokenEntry(i, item.reason, item.source) if isinstance(item, BrokenEntry) else item
        for i, item in enumerate(out)
    ]


def _read_tensors(path: Path, evaluation: int) -> list[Entry]:
    """Read the tensor file of CDVAE's scripts."""
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain data and was not loaded, since loading "
            f"would execute code ({str(error).splitlines()[0]}); save the tensors alone"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"{path} is truncated or damaged ({error}); copy it again") from error
    keys = ("frac_coords", "atom_types", "lengths", "angles", "num_atoms")
    if not isinstance(content, dict) or any(key not in content for key in keys[:2] + keys[4:]):
        raise ValueError(f"{path} is not a sample file: it needs the keys {list(keys)}")
    if "lengths" not in content and "lattices" not in content:
        raise ValueError(f"{path} has neither lengths and angles nor lattices")
    ranks = {"frac_coords": 2, "atom_types": 1, "num_atoms": 1, "lengths": 2, "angles": 2}
    ranks["lattices"] = 3
    arrays: dict[str, np.ndarray] = {}
    for key, rank in ranks.items():
        if key not in content:
            continue
        value = torch.as_tensor(content[key]).detach()
        # one-hot or logits over the elements 1, 2, ... (CDVAE keeps both forms)
        one_hot = key == "atom_types" and value.ndim >= 2 and value.shape[-1] >= 100
        if one_hot and value.shape[-1] != arrays["frac_coords"].shape[0]:
            value = value.argmax(-1) + 1
        if value.ndim == rank + 1:
            if not 0 <= evaluation < len(value):
                raise ValueError(f"{path} holds {len(value)} evaluations, not {evaluation + 1}")
            value = value[evaluation]
        arrays[key] = value.double().numpy() if value.is_floating_point() else value.numpy()
    return _cut(path, arrays, content.get("provenance"))


def _cut(path: Path, arrays: dict[str, np.ndarray], provenance: Any) -> list[Entry]:
    sizes = arrays["num_atoms"].astype(int)
    if sizes.sum() != len(arrays["frac_coords"]) or sizes.sum() != len(arrays["atom_types"]):
        raise ValueError(
            f"{path}: num_atoms adds up to {sizes.sum()}, but there are "
            f"{len(arrays['frac_coords'])} coordinates and {len(arrays['atom_types'])} species"
        )
    infos = json.loads(provenance) if isinstance(provenance, str) else [{}] * len(sizes)
    ends = np.cumsum(sizes)
    out: list[Entry] = []
    for i, (n, end) in enumerate(zip(sizes, ends, strict=True)):
        frac, numbers = arrays["frac_coords"][end - n : end], arrays["atom_types"][end - n : end]
        try:
            if n == 0:
                raise ValueError("no atoms")
            if "lengths" in arrays:
                cell = arrays["lengths"][i], arrays["angles"][i]
                crystal = Crystal.from_parameters(*cell, frac, numbers, infos[i])
            else:
                crystal = Crystal(arrays["lattices"][i], frac, numbers, infos[i])
            if not (np.isfinite(crystal.lattice).all() and np.isfinite(frac).all()):
                raise ValueError("lattice or coordinates are not finite")
            out.append(crystal)
        except (ValueError, ZeroDivisionError, FloatingPointError) as error:
            out.append(BrokenEntry(i, str(error), f"{path.name}, entry {i}"))
    return out


def _read_extxyz(path: Path) -> Iterable[RawEntry]:
    """Cut the file into frames, so that one bad frame leaves the others whole."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    out: list[RawEntry] = []
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        try:
            end = start + 2 + int(lines[start])
        except ValueError as error:
            raise ValueError(
                f"{path}, line {start + 1}: expected a number of atoms, got {lines[start]!r}"
            ) from error
        out.append(_raw("".join(lines[start:end]), "extxyz", path.name, len(out)))
        start = end
    return out


def _read_json(path: Path) -> Iterable[Entry]:
    data = path.read_bytes()
    try:
        content = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error})") from error
    if isinstance(content, dict) and "sites" not in content:
        content = list(content.values())
    items = content if isinstance(content, list) else [content]
    return [_from_dict(item, i, path.name) for i, item in enumerate(items)]


def _from_dict(item: Any, index: int, name: str) -> Entry:
    from pymatgen.core import Structure  # noqa: PLC0415

    try:
        if isinstance(item, dict) and "sites" not in item:
            item = next(v for v in item.values() if isinstance(v, dict) and "sites" in v)
        return Crystal.from_structure(Structure.from_dict(item))
    except StopIteration:
        return BrokenEntry(index, "no pymatgen structure in it", f"{name}, entry {index}")
    except Exception as error:  # pymatgen raises whatever it meets in foreign data
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return BrokenEntry(index, reason, f"{name}, entry {index}")


def _raw(text: str, fmt: str, source: str, index: int) -> RawEntry:
    return RawEntry(text, fmt, f"{source}, entry {index}", index, f"{source}:{index}", {})


def _format_of(name: str) -> str | None:
    lower = name.lower()
    if lower.endswith((".cif", ".extxyz", ".xyz")):
        return "cif" if lower.endswith(".cif") else "extxyz"
    base = name.rsplit("/", 1)[-1].upper()
    return "poscar" if lower.endswith((".vasp", ".poscar")) or base.startswith("POSCAR") else None


def _text_entries(named: Iterable[tuple[str, bytes]]) -> list[RawEntry]:
    """One entry per structure file, or per frame of an extxyz, in natural order of the names."""
    out: list[RawEntry] = []
    for name, data in sorted(named, key=lambda item: _natural(item[0])):
        fmt = _format_of(name)
        if fmt is not None:
            text = data.decode("utf-8", errors="replace")
            out.append(RawEntry(text, fmt, name, len(out), name, {}))
    return out


def _natural(name: str) -> list[tuple[int, int | str]]:
    out: list[tuple[int, int | str]] = []
    for is_digit, part in _runs(name):
        out.append((0, int(part)) if is_digit else (1, part))
    return out


def _runs(name: str) -> Iterable[tuple[bool, str]]:
    from itertools import groupby  # noqa: PLC0415

    return ((key, "".join(chars)) for key, chars in groupby(name, str.isdigit))


def _read_folder(path: Path) -> list[RawEntry]:
    files = [f for f in path.rglob("*") if f.is_file() and _format_of(f.name)]
    if not files:
        raise ValueError(f"{path} holds no structure files ({', '.join(STRUCTURE_SUFFIXES)})")
    return _text_entries((str(f.relative_to(path)), f.read_bytes()) for f in files)


def _read_zip(path: Path) -> list[RawEntry]:
    with zipfile.ZipFile(path) as archive:
        return _text_entries([(n, archive.read(n)) for n in archive.namelist() if _format_of(n)])


def _read_tar(path: Path) -> list[RawEntry]:
    with tarfile.open(path) as archive:
        members = [m for m in archive.getmembers() if m.isfile() and _format_of(m.name)]
        opened = [(m.name, archive.extractfile(m) or io.BytesIO()) for m in members]
        return _text_entries([(name, handle.read()) for name, handle in opened])


def _read_cif(path: Path) -> list[RawEntry]:
    """A CIF file may hold several data blocks, each a structure."""
    text = path.read_text(encoding="utf-8", errors="replace")
    blocks: list[list[str]] = []
    for line in text.splitlines(keepends=True):
        if line.lower().startswith("data_") or not blocks:
            blocks.append([])
        blocks[-1].append(line)
    texts = ["".join(b) for b in blocks if b[0].lower().startswith("data_")] or [text]
    return [_raw(t, "cif", path.name, i) for i, t in enumerate(texts)]


def _read_poscar(path: Path) -> list[RawEntry]:
    return [_raw(path.read_text(encoding="utf-8"), "poscar", path.name, 0)]


def _read_csv(path: Path) -> list[RawEntry]:
    return read_table(path, properties=[])[0]


_READERS: list[tuple[tuple[str, ...], Callable[..., Any]]] = [
    (("/",), _read_folder),
    ((".pt", ".pth"), _read_tensors),
    ((".extxyz", ".xyz"), _read_extxyz),
    ((".json", ".json.gz"), _read_json),
    ((".csv", ".csv.gz"), _read_csv),
    ((".zip",), _read_zip),
    ((".tar", ".tar.gz", ".tgz"), _read_tar),
    ((".cif",), _read_cif),
    ((".vasp", ".poscar"), _read_poscar),
]
