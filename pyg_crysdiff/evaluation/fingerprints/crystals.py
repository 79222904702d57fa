"""Fingerprints of many crystals: computed on all cores, kept on disk."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.fingerprints.crystalnn import structure_fingerprints
from pyg_crysdiff.evaluation.fingerprints.magpie import composition_fingerprint
from pyg_crysdiff.evaluation.validity import MIN_VOLUME
from pyg_crysdiff.parallel import parallel_map
from pyg_crysdiff.storage import facts_digest, kept, load_arrays, replacing

STRUCTURE_DIM, COMPOSITION_DIM = 61, 132
_FORMAT = 1
_CHUNK = 50


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of M entries.

    Attributes:
        structure: Mean over sites of matminer's CrystalNNFingerprint "ops", (M, 61).
        composition: matminer's ElementProperty "magpie", standardised with CDVAE's constants,
            (M, 132).
        ok: Whether an entry has both, (M,); rows of others are NaN.
    """

    structure: NDArray[np.float64]
    composition: NDArray[np.float64]
    ok: NDArray[np.bool_]


def fingerprint_crystals(
    crystals: Sequence[Crystal | BrokenEntry],
    *,
    num_workers: int | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> Fingerprints:
    """Compute the fingerprints of CDVAE's ``get_fingerprints``.

    Args:
        crystals: Entries; what cannot be fingerprinted is marked, never raised.
        num_workers: Processes; None for all cores.
        cache_dir: Folder for results by content hash of the whole list; None for no cache.
        progress: Show a progress bar.
    """
    make = partial(_computed, crystals, num_workers, progress)
    if cache_dir is None:
        return make()
    path = Path(cache_dir) / f"fingerprints-{_digest(crystals)}.npz"
    return kept(path, partial(_read, count=len(crystals)), make, _write)


def _computed(
    crystals: Sequence[Crystal | BrokenEntry], num_workers: int | None, progress: bool
) -> Fingerprints:
    chunks = [crystals[i : i + _CHUNK] for i in range(0, len(crystals), _CHUNK)]
    rows = parallel_map(
        _fingerprints, chunks, num_workers=num_workers, progress=progress,
        label="fingerprints", serial_below=4, chunksize=1,
    )  # fmt: skip
    table = np.concatenate(rows) if rows else np.zeros((0, STRUCTURE_DIM + COMPOSITION_DIM))
    ok = np.asarray(np.isfinite(table).all(1))
    return Fingerprints(table[:, :STRUCTURE_DIM], table[:, STRUCTURE_DIM:], ok)


def _write(path: Path, found: Fingerprints) -> None:
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary, structure=found.structure, composition=found.composition, ok=found.ok
        )


def _read(path: Path, count: int) -> Fingerprints:
    """Return kept fingerprints of so many entries; raises where they are damaged."""
    with load_arrays(path) as known:
        found = Fingerprints(known["structure"], known["composition"], known["ok"])
    shapes = [found.structure.shape, found.composition.shape, found.ok.shape]
    if shapes != [(count, STRUCTURE_DIM), (count, COMPOSITION_DIM), (count,)]:
        raise ValueError(f"{path} is damaged: shapes {shapes}")
    return found


def _fingerprints(crystals: Sequence[Crystal | BrokenEntry]) -> NDArray[np.float64]:
    """Rows of structure and composition fingerprint; NaN where there is none."""
    out = np.full((len(crystals), STRUCTURE_DIM + COMPOSITION_DIM), np.nan)
    known = [(i, c) for i, c in enumerate(crystals) if isinstance(c, Crystal) and _sound(c)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = structure_fingerprints([c for _, c in known])
        for (row, crystal), fingerprint in zip(known, found, strict=True):
            if fingerprint is not None:
                out[row, :STRUCTURE_DIM] = fingerprint
                out[row, STRUCTURE_DIM:] = composition_fingerprint(crystal)
    return out


def _sound(crystal: Crystal) -> bool:
    known = ((crystal.atomic_numbers > 0) & (crystal.atomic_numbers < 119)).all()
    return bool(crystal.is_finite and known and len(crystal) > 0 and crystal.volume >= MIN_VOLUME)


def _digest(crystals: Sequence[Crystal | BrokenEntry]) -> str:
    contents = (c.digest() + "|" if isinstance(c, Crystal) else "|" for c in crystals)
    made_by = {name: version(name) for name in ("pymatgen", "matminer")}
    return facts_digest({"format": _FORMAT, **made_by}, contents)[:24]
