"""Cutting a source into train, val and test, by files or at random."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path

import numpy as np

SPLITS = ("train", "val", "test")
# What a part's file may be called.
_FILE_NAMES = {"train": ("train",), "val": ("val", "valid", "validation", "dev"), "test": ("test",)}
SPLIT_NOTE = "split.txt"
_LONGEST_NOTE = 100


def random_split(
    count: int, fractions: Sequence[float], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a seeded permutation of 0..count-1 into train, val and test; each sorted.

    Raises:
        ValueError: If the fractions are not three numbers from 0 that add up to 1.
    """
    numbers = [f for f in fractions if isinstance(f, Real) and f >= 0]
    if len(numbers) != len(fractions) or len(numbers) != 3 or abs(sum(numbers) - 1) > 1e-6:
        raise ValueError(
            "fractions must be three numbers from 0 that add up to 1 (train, val, test), "
            f"got {list(fractions)}"
        )
    order = np.random.default_rng(seed).permutation(count)
    ends = np.round(np.cumsum(fractions) * count).astype(int)
    train, val, test = np.split(order, ends[:2])
    return np.sort(train), np.sort(val), np.sort(test)


def find_table(folder: Path, name: str) -> Path | None:
    """Return ``folder/name.csv`` or ``folder/name.csv.gz``, whichever there is."""
    for suffix in (".csv", ".csv.gz"):
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    return None


def split_files(path: Path) -> dict[str, Path]:
    """Return the files of a folder that is split by files: train.csv and at least one other.

    The validation set may be called ``val``, ``valid``, ``validation`` or ``dev``. Empty where the
    path is no such folder.

    Raises:
        ValueError: If two files may be the same part.
    """
    files: dict[str, Path] = {}
    for part, names in _FILE_NAMES.items() if path.is_dir() else ():
        found = [file for name in names if (file := find_table(path, name)) is not None]
        if len(found) > 1:
            raise ValueError(
                f"{path} holds {' and '.join(f.name for f in found)}, which may both be the "
                f"{part} part; keep one"
            )
        if found:
            files[part] = found[0]
    return files if "train" in files and len(files) > 1 else {}


def tables_of_no_part(path: Path) -> list[str]:
    """Return the names of the CSV files of a split folder that belong to none of its parts."""
    parts = set(split_files(path).values())
    tables = {file for end in (".csv", ".csv.gz") for file in path.glob(f"*{end}")}
    return sorted(file.name for file in tables - parts) if parts else []


def split_note(folder: Path) -> str | None:
    """Return what a folder says of its split: the first line of its ``split.txt``; None for none.

    Whoever cuts the files of a published set in another way says so there, as
    ``scripts/polymorph_split.py`` does. The line stands in every result, report and card.
    """
    file = folder / SPLIT_NOTE
    if not file.is_file():
        return None
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline(_LONGEST_NOTE).strip() or None


def describe_shares(fractions: Sequence[float], seed: int) -> str:
    """Say in a few words how :func:`random_split` cuts, for tables and cards."""
    shares = [f"{100 * f:g}" if isinstance(f, Real) else str(f) for f in fractions]
    return f"random {'/'.join(shares)}, seed {seed}"
