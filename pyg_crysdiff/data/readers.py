"""Reading anybody's sample files: one list of crystals, broken entries in their place."""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
import io
import json
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.parsing import STRUCTURE_SUFFIXES, RawEntry, parse_entries, read_table

Entry = Crystal | BrokenEntry
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, UnicodeDecodeError,
    NotImplementedError, RuntimeError, RecursionError, csv.Error,
)  # fmt: skip
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
    except _DAMAGE as error:
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
    except Exception as error:  # the unpickler raises whatever it meets in damaged bytes
        raise ValueError(f"{path} is truncated or damaged ({error}); copy it again") from error
    if not isinstance(content, dict) or any(key not in content for key in _NEEDED):
        raise ValueError(f"{path} is not a sample file: it needs the keys {list(_NEEDED)}")
    if "lattices" not in content and not ("lengths" in content and "angles" in content):
        raise ValueError(f"{path} has neither lengths and angles nor lattices")
    fields = {key: content[key] for key in _SHAPES if key in content}
    if "lattices" in fields and not ("lengths" in fields and "angles" in fields):
        fields = {key: v for key, v in fields.items() if key not in ("lengths", "angles")}
    arrays = {key: _array(path, key, value, evaluation) for key, value in fields.items()}
    return _cut(path, arrays, content.get("provenance"))


# One evaluation's shapes; None is any length.
_SHAPES: dict[str, tuple[int | None, ...]] = {
    "num_atoms": (None,),
    "frac_coords": (None, 3),
    "atom_types": (None,),
    "lengths": (None, 3),
    "angles": (None, 3),
    "lattices": (None, 3, 3),
}
_NEEDED = ("frac_coords", "atom_types", "num_atoms")
_ONE_HOT = 100  # from here on the last axis of atom_types is one over elements


def _array(path: Path, key: str, value: Any, evaluation: int) -> np.ndarray:
    """Return one field of one evaluation; whole numbers for sizes and species."""
    shape = _SHAPES[key]
    try:
        tensor = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: {key} is no array of numbers ({error})") from error
    if key == "atom_types" and _over_elements(tensor):
        tensor = tensor.argmax(-1) + 1
    if tensor.ndim == len(shape) + 1:
        if not 0 <= evaluation < len(tensor):
            raise ValueError(f"{path} holds {len(tensor)} evaluations, not {evaluation + 1}")
        tensor = tensor[evaluation]
    fits = tensor.ndim == len(shape)
    if not fits or any(n not in (None, m) for n, m in zip(shape, tensor.shape, strict=True)):
        wanted = tuple("n" if n is None else n for n in shape)
        raise ValueError(f"{path}: {key} has shape {tuple(tensor.shape)}, expected {wanted}")
    if key in ("num_atoms", "atom_types"):
        numbers = tensor.double().numpy()
        if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any():
            raise ValueError(f"{path}: {key} holds something that is no whole number")
        return numbers.astype(np.int64)
    return tensor.double().numpy()


def _over_elements(types: torch.Tensor) -> bool:
    """Whether the last axis is one-hot or logits over the elements 1, 2, ... (CDVAE keeps both)."""
    if types.ndim < 2 or types.shape[-1] not in (_ONE_HOT, _ONE_HOT + 1):
        return False
    values = types.double()
    one_hot = bool((values.sum(-1) == 1).all())
    return types.ndim == 3 or one_hot or bool((values != values.round()).any())


def _cut(path: Path, arrays: dict[str, np.ndarray], provenance: Any) -> list[Entry]:
    sizes = arrays["num_atoms"]
    if len(sizes) == 0 or (sizes < 0).any():
        raise ValueError(f"{path} holds no structures or a negative number of atoms")
    for key in ("lengths", "angles", "lattices"):
        if key in arrays and len(arrays[key]) != len(sizes):
            raise ValueError(f"{path}: {len(sizes)} crystals, but {len(arrays[key])} {key}")
    if sizes.sum() != len(arrays["frac_coords"]) or sizes.sum() != len(arrays["atom_types"]):
        raise ValueError(
            f"{path}: num_atoms adds up to {sizes.sum()}, but there are "
            f"{len(arrays['frac_coords'])} coordinates and {len(arrays['atom_types'])} species"
        )
    infos = _provenance(provenance, len(sizes))
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


def _provenance(text: Any, count: int) -> list[dict[str, Any]]:
    """Facts on each crystal, as this package writes them; nothing where they do not fit."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except json.JSONDecodeError:
        found = None
    if isinstance(found, list) and len(found) == count and all(isinstance(f, dict) for f in found):
        return found
    return [{}] * count


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
    return read_table(path, properties=[]).entries


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
