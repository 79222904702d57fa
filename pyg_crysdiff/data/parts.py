"""Parts of what a text names: a data set, a folder split by files, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyg_crysdiff.data.dataset import CrystalDataset
from pyg_crysdiff.data.names import DATASET_NAMES
from pyg_crysdiff.data.published import load_dataset
from pyg_crysdiff.data.splits import SPLITS, split_files
from pyg_crysdiff.storage import user_path


def open_parts(place: str, **options: Any) -> dict[str, CrystalDataset]:
    """Open the parts of a data set, in the order train, val, test.

    Args:
        place: ``perov5``, ``perov5:val,test`` or another data set; a folder that is split into
            files, with or without ``:val,test``; or a file or folder, whose one part is ``known``.
        **options: Of :func:`pyg_crysdiff.data.load_dataset`, for a data set with a name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such part, or it cannot be read.
    """
    source, parts = place, list(SPLITS)
    if not user_path(place).exists() and ":" in place:
        source, _, asked = place.rpartition(":")
        parts = asked.split(",")
    if source in DATASET_NAMES:
        there: tuple[str, ...] = SPLITS
    elif not user_path(source).exists():
        names = ", ".join(DATASET_NAMES)
        raise FileNotFoundError(f"{place!r} is neither a data set ({names}) nor a file")
    else:
        options = {}
        there = tuple(part for part in SPLITS if part in split_files(Path(user_path(source))))
    if source != place and (strange := [part for part in parts if part not in there]):
        which = f"has {', '.join(there)}" if there else "is not split into parts"
        raise ValueError(f"{place}: there is no part {', '.join(strange)}; {source} {which}")
    opened = {p: load_dataset(source, p, **options) for p in there if p in parts}
    return opened or {"known": load_dataset(source, "all")}


def open_part(place: str, part: str, **options: Any) -> CrystalDataset | None:
    """Open one part of a data set or of one's own data.

    Args:
        place: ``perov5`` or another data set; a folder that is split into files; or either, or
            any file or folder that is split at random, with ``:train``, ``:val``, ``:test`` or
            ``:all`` behind it.
        part: Part that is meant where ``place`` names none.
        **options: Of :func:`pyg_crysdiff.data.load_dataset`, for a data set with a name.

    Returns:
        The part; None for a file or folder without parts, which is meant as a whole.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such part, or an entry of it cannot be read.
    """
    source = place
    if not user_path(place).exists() and ":" in place:
        source, _, part = place.rpartition(":")
        if part not in (*SPLITS, "all"):
            raise ValueError(f"{place}: there is no part {part}; choose {', '.join(SPLITS)} or all")
    if source in DATASET_NAMES:
        return load_dataset(source, part, **options)
    if not user_path(source).exists():
        names = ", ".join(DATASET_NAMES)
        raise FileNotFoundError(f"{source!r} is neither a data set ({names}) nor a file or folder")
    if source == place and not split_files(user_path(source)):
        return None
    return load_dataset(source, part, strict=True)
