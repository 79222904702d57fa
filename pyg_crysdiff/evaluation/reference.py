"""Numbers of the reference crystals: computed once, and kept on disk for every later evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.distribution import space_group
from pyg_crysdiff.evaluation.predictor import PropertyPredictor, identity_of
from pyg_crysdiff.parallel import parallel_map
from pyg_crysdiff.platform import cache_folder
from pyg_crysdiff.storage import facts_digest, kept, read_keyed, write_json


def reference_folder() -> Path:
    """Return the folder in which commands keep numbers of reference crystals, for all their runs.

    It lies below ``CRYSDIFF_CACHE``. Names of files hold the content of the crystals, and the
    versions of what computed the numbers.
    """
    return cache_folder() / "fingerprints"


def space_groups(
    crystals: Sequence[Crystal],
    *,
    num_workers: int | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
    find: Callable[[Crystal], int] | None = None,
    rule: str = "symprec 0.1",
) -> list[int]:
    """Return the space group of each crystal.

    Args:
        crystals: Structurally valid crystals.
        num_workers: Processes; None for all cores.
        cache_dir: Folder for results by content hash of the whole list; None for no cache.
        progress: Show a progress bar.
        find: What finds that of one crystal; None for what the table of an evaluation has.
        rule: What names ``find`` in the cache: another one needs another name.
    """
    work = space_group if find is None else find

    def make() -> list[int]:
        return parallel_map(
            work, crystals, num_workers=num_workers, progress=progress, label="space groups"
        )

    facts = {"kind": "space groups", "rule": rule, "spglib": version("spglib")}
    return [int(x) for x in kept_numbers("groups", facts, crystals, cache_dir, make)]


def predictions(
    predictor: PropertyPredictor,
    crystals: Sequence[Crystal],
    *,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> NDArray[np.float64]:
    """Return the predicted property of each crystal, (M,); NaN where there is none.

    Args:
        predictor: The model. Without an ``identity`` nothing is kept.
        crystals: Crystals.
        cache_dir: Folder for results by content hash of the whole list; None for no cache.
        progress: Show a progress bar.
    """
    identity = identity_of(predictor)

    def make() -> list[float]:
        return [float(x) for x in predictor.predict(crystals, progress=progress)]

    facts = {"kind": "predictions", "predictor": identity}
    folder = None if identity is None else cache_dir
    return np.array(kept_numbers("predictions", facts, crystals, folder, make), dtype=np.float64)


def kept_numbers(
    name: str,
    facts: Mapping[str, Any],
    crystals: Sequence[Crystal],
    folder: Path | None,
    make: Callable[[], Sequence[float]],
) -> Sequence[float]:
    """Return one number for each crystal, from a file if they were made before.

    Args:
        name: Begin of the file's name.
        facts: What decides the numbers beside the crystals, JSON-able.
        crystals: Crystals.
        folder: Where the file is; None for no file.
        make: Makes the numbers.
    """
    if folder is None:
        return make()
    key = facts_digest(dict(facts), (crystal.digest() for crystal in crystals))
    return kept(
        Path(folder) / f"{name}-{key[:24]}.json",
        lambda path: [float(x) for x in read_keyed(path, key)["values"]],
        make,
        lambda path, found: write_json(path, {"key": key, "values": found}),
    )
