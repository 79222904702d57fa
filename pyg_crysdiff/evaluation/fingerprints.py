"""Structure and composition fingerprints behind coverage, computed on all cores, cached on disk."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.validity import MIN_VOLUME
from pyg_crysdiff.parallel import parallel_map

STRUCTURE_DIM, COMPOSITION_DIM = 61, 132
_FORMAT = 1
_SCALING = Path(__file__).parent / "constants" / "magpie_scaling.json"


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
    path = None
    if cache_dir is not None:
        path = Path(cache_dir) / f"fingerprints-{_digest(crystals)}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as known:
                return Fingerprints(known["structure"], known["composition"], known["ok"])
    rows = parallel_map(
        _fingerprint, crystals, num_workers=num_workers, progress=progress,
        label="fingerprints", serial_below=20, chunksize=8,
    )  # fmt: skip
    table = np.array(rows, dtype=np.float64).reshape(-1, STRUCTURE_DIM + COMPOSITION_DIM)
    ok = np.asarray(np.isfinite(table).all(1))
    found = Fingerprints(table[:, :STRUCTURE_DIM], table[:, STRUCTURE_DIM:], ok)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez_compressed(
            temporary, structure=found.structure, composition=found.composition, ok=found.ok
        )
        temporary.replace(path)
    return found


def _fingerprint(crystal: Crystal | BrokenEntry) -> NDArray[np.float64]:
    nothing = np.full(STRUCTURE_DIM + COMPOSITION_DIM, np.nan)
    if isinstance(crystal, BrokenEntry) or not _constructible(crystal):
        return nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.concatenate([structure_fingerprint(crystal), _composition(crystal)])
        except Exception:  # matminer and qhull raise whatever they meet in unphysical cells
            return nothing


def _constructible(crystal: Crystal) -> bool:
    finite = np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all()
    return bool(finite and len(crystal) > 0 and crystal.volume >= MIN_VOLUME)


def structure_fingerprint(crystal: Crystal) -> NDArray[np.float64]:
    """Return the mean CrystalNNFingerprint over the sites, (61,)."""
    structure, featurizer = crystal.to_structure(), _matminer()[0]
    sites = [featurizer.featurize(structure, i) for i in range(len(structure))]
    return np.array(sites, dtype=np.float64).mean(0)


def _composition(crystal: Crystal) -> NDArray[np.float64]:
    numbers, counts = np.unique(crystal.atomic_numbers, return_counts=True)
    return _magpie(tuple(numbers.tolist()), tuple(counts.tolist()))


@cache
def _magpie(numbers: tuple[int, ...], counts: tuple[int, ...]) -> NDArray[np.float64]:
    from pymatgen.core import Composition, Element  # noqa: PLC0415

    amounts = {Element.from_Z(z): n for z, n in zip(numbers, counts, strict=True)}
    raw = np.array(_matminer()[1].featurize(Composition(amounts)), dtype=np.float64)
    means, stds = _scaling()
    # CDVAE's scaler replaces a missing feature by zero, the mean.
    return np.nan_to_num((raw - means) / stds, nan=0.0, posinf=np.inf, neginf=-np.inf)


@cache
def _scaling() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    raw = json.loads(_SCALING.read_text(encoding="utf-8"))
    return np.array(raw["means"]), np.array(raw["stds"])


@cache
def _matminer() -> tuple[Any, Any]:
    from matminer.featurizers.composition import ElementProperty  # noqa: PLC0415
    from matminer.featurizers.site import CrystalNNFingerprint  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        magpie = ElementProperty.from_preset("magpie", impute_nan=False)
        return CrystalNNFingerprint.from_preset("ops"), magpie


def _digest(crystals: Sequence[Crystal | BrokenEntry]) -> str:
    digest = hashlib.sha256(str(_FORMAT).encode())
    for c in crystals:
        if isinstance(c, Crystal):
            for array in (c.lattice, c.frac_coords, c.atomic_numbers):
                digest.update(array.tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:24]
