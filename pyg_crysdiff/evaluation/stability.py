"""Stability: relaxation with CHGNet and energy above a convex hull. Needs the extra ``stability``.

CHGNet: Deng et al., Nature Machine Intelligence 5, 1031 (2023), arXiv 2302.14231; its weights ship
in its wheel. Relaxations are slow (seconds each), so each is kept on disk as it ends.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.phase_diagram import PDEntry
from pymatgen.core import Composition

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.hull import Hull, counts, read_entries
from pyg_crysdiff.parallel import parallel_map
from pyg_crysdiff.progress import bar
from pyg_crysdiff.storage import JsonLines

_CHUNK = 32
__all__ = [
    "COLUMNS", "Hull", "Stability", "read_entries", "relax_shard", "relaxations", "right_handed",
    "rms_moved", "stability_columns", "static_energies",
]  # fmt: skip
COLUMNS = ("relaxed_energy", "initial_energy", "relax_rms", "relax_converged", "e_above_hull")


@dataclass(frozen=True)
class Stability:
    """How stability is judged.

    Attributes:
        hull: JSON(.gz) file with a list of pymatgen entries (``composition``, ``energy``), on the
            energy scale of CHGNet, i.e. Materials Project with its 2020 corrections; None for
            CHGNet energies of the reference and training crystals.
        stable_at: Largest energy above the hull of a stable crystal, eV/atom.
        steps: Most relaxation steps.
        fmax: Largest force at which relaxation ends, eV/A.
        cache_dir: Folder in which finished relaxations and energies are kept; None for nowhere.
        num_workers: Processes; None for all cores.
    """

    hull: Path | None = None
    stable_at: float = 0.1
    steps: int = 200
    fmax: float = 0.1
    cache_dir: Path | None = None
    num_workers: int | None = None

    def __post_init__(self) -> None:
        if importlib.util.find_spec("chgnet") is None:
            raise ModuleNotFoundError(
                "stability needs CHGNet: pip install 'pyg_crysdiff[stability]'"
            )


def relax_shard(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    settings: Stability,
    shard: tuple[int, int],
    progress: bool = False,
) -> int:
    """Relax every n-th crystal, from crystal k on, and leave the results in the cache.

    For several processes or machines that share ``cache_dir``; :func:`stability_columns` then
    finds everything done.

    Args:
        crystals: Valid crystals.
        known: Crystals of which the hull is made where no entries are given.
        settings: Settings with a ``cache_dir``.
        shard: (k, n).
        progress: Show progress.

    Returns:
        Number of crystals of this shard.

    Raises:
        ValueError: If there is no folder to leave results in, or the shard is bad.
    """
    k, n = shard
    if settings.cache_dir is None or not 0 <= k < n:
        raise ValueError(f"a shard (k, n) needs 0 <= k < n and a cache folder, got {shard}")
    relax, tag = _relaxation(settings)
    parts: list[tuple[Any, Sequence[Crystal], str]] = [(relax, crystals[k::n], tag)]
    if settings.hull is None:
        parts.append((_static, known[k::n], "static"))
    for work, chosen, name in parts:
        for _ in _kept(work, chosen, name, settings, progress, f".{k}-{n}"):
            pass
    return len(parts[0][1])


def _relaxation(settings: Stability) -> tuple[Any, str]:
    """The relaxation and the name of its results."""
    work = partial(_relax, steps=settings.steps, fmax=settings.fmax)
    return work, f"relaxation-{settings.steps}-{settings.fmax:g}"


def stability_columns(
    crystals: Sequence[Crystal], known: Sequence[Crystal], settings: Stability, progress: bool
) -> dict[str, NDArray[np.float64]]:
    """Relax crystals and place them above the hull.

    Args:
        crystals: Valid crystals.
        known: Crystals of which the hull is made where no entries are given.
        settings: Settings.
        progress: Show progress.

    Returns:
        Columns :data:`COLUMNS`, each (M,): energies in eV/atom, distance in A, convergence 0 or 1;
        NaN where CHGNet failed or no hull is known.
    """
    columns = relaxations(crystals, settings, progress)
    hull = Hull(
        read_entries(settings.hull) if settings.hull else _entries(known, settings, progress)
    )
    pairs = zip(crystals, columns["relaxed_energy"], strict=True)
    above = np.array([hull.energy_above(c, e) for c, e in pairs], dtype=np.float64)
    return {**columns, COLUMNS[-1]: above}


def relaxations(
    crystals: Sequence[Crystal], settings: Stability, progress: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Relax crystals; return all of :data:`COLUMNS` but the last, which needs a hull."""
    work, tag = _relaxation(settings)
    rows = np.array(list(_kept(work, crystals, tag, settings, progress))).reshape(-1, 4)
    return dict(zip(COLUMNS[:-1], rows.T, strict=True))


def static_energies(
    crystals: Sequence[Crystal], settings: Stability, progress: bool = False
) -> NDArray[np.float64]:
    """Return CHGNet's energy of crystals as they are, eV/atom, (M,); NaN where it failed."""
    rows = list(_kept(_static, crystals, "static", settings, progress))
    return np.array([row[0] for row in rows], dtype=np.float64)


def _entries(known: Sequence[Crystal], settings: Stability, progress: bool) -> list[PDEntry]:
    energies = static_energies(known, settings, progress)
    return [
        PDEntry(Composition.from_dict(counts(c)), energy * len(c))
        for c, energy in zip(known, energies, strict=True)
        if np.isfinite(energy)
    ]


def _kept(
    work: Any,
    crystals: Sequence[Crystal],
    tag: str,
    settings: Stability,
    progress: bool,
    suffix: str = "",
) -> Iterator[list[float]]:
    """Yield ``work(crystal)`` of each crystal; finished ones come from and go to files.

    Every shard writes a file of its own (``suffix``); all are read.
    """
    file = None
    known: dict[str, list[float]] = {}
    if settings.cache_dir is not None:
        file = settings.cache_dir / f"chgnet-{tag}{suffix}.jsonl"
        for found in [file, *sorted(settings.cache_dir.glob(f"chgnet-{tag}.*-*.jsonl"))]:
            known |= _finished(found)
    keys = [c.digest() for c in crystals]
    missing = [i for i, key in enumerate(keys) if key not in known]
    with bar(label=tag, total=len(missing), show=progress and bool(missing)) as shown:
        for start in range(0, len(missing), _CHUNK):
            part = missing[start : start + _CHUNK]
            rows = parallel_map(
                work, [crystals[i] for i in part], num_workers=settings.num_workers,
                progress=False, serial_below=4, chunksize=1,
            )  # fmt: skip
            known |= {keys[i]: row for i, row in zip(part, rows, strict=True)}
            if file is not None:
                JsonLines(file).add([keys[i], known[keys[i]]] for i in part)
            shown.update(len(part))
    for key in keys:
        yield known[key]


def _finished(file: Path) -> dict[str, list[float]]:
    """Read finished results; what is damaged is left out."""
    out: dict[str, list[float]] = {}
    for value in JsonLines(file).read():
        with suppress(ValueError, TypeError):
            key, row = value
            if isinstance(key, str) and len(row) in (1, 4):
                out[key] = [float(x) for x in row]
    return out


@cache
def _chgnet() -> Any:
    from chgnet.model import CHGNet  # noqa: PLC0415

    return CHGNet.load(use_device="cpu", verbose=False)


def _static(crystal: Crystal) -> list[float]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [float(_chgnet().predict_structure(crystal.to_structure(), task="e")["e"])]
    except Exception:  # an element CHGNet does not know, an atom without neighbours, ...
        return [float("nan")]


def _relax(crystal: Crystal, steps: int, fmax: float) -> list[float]:
    """Return energy after and before (eV/atom), distance moved (A), and whether it converged."""
    from chgnet.model import StructOptimizer  # noqa: PLC0415

    crystal = right_handed(crystal)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = StructOptimizer(model=_chgnet(), use_device="cpu")
            found: Any = optimizer.relax(
                crystal.to_structure(), fmax=fmax, steps=steps, verbose=False
            )
    except Exception:  # as above
        return [float("nan")] * 4
    path = found["trajectory"]
    n = len(crystal)
    final = Crystal.from_structure(found["final_structure"])
    forces = float(np.linalg.norm(path.forces[-1], axis=1).max())
    moved = rms_moved(crystal, final)
    return [float(path.energies[-1]) / n, float(path.energies[0]) / n, moved, float(forces <= fmax)]


def right_handed(crystal: Crystal) -> Crystal:
    """Return the same crystal with a right-handed cell.

    CHGNet divides by the signed volume: in a left-handed cell its stress has the wrong sign, and a
    relaxation climbs.
    """
    if np.linalg.det(crystal.lattice) > 0:
        return crystal
    order = [0, 2, 1]
    return replace(
        crystal, lattice=crystal.lattice[order], frac_coords=crystal.frac_coords[:, order]
    )


def rms_moved(before: Crystal, after: Crystal) -> float:
    """Return the root-mean-square distance between two states of the same atoms, A.

    Fractional differences to the nearest image, without their common shift, times the mean cell.
    """
    shift = after.frac_coords - before.frac_coords
    shift -= np.round(shift)
    shift -= shift.mean(0)
    distance = shift @ ((before.lattice + after.lattice) / 2)
    return float(np.sqrt((distance**2).sum(1).mean()))
