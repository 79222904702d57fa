"""Stability: relaxation with CHGNet and energy above a convex hull. Needs the extra ``stability``.

CHGNet: Deng et al., Nature Machine Intelligence 5, 1031 (2023), arXiv 2302.14231; its weights ship
in its wheel. Relaxations are slow (seconds each), so each is kept on disk as it ends
(:mod:`pyg_crysdiff.evaluation.chgnet`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pymatgen.analysis.phase_diagram import PDEntry
from pymatgen.core import Composition

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.chgnet import (
    kept_results,
    relax_summary,
    relax_whole,
    relaxed_crystal,
    static,
)
from pyg_crysdiff.evaluation.hull import Hull, counts, read_entries
from pyg_crysdiff.relaxation.geometry import right_handed, rms_moved

_Work = Callable[[Crystal], list[float]]
__all__ = [
    "COLUMNS", "Hull", "Relaxed", "Stability", "read_entries", "relax_shard", "relaxations",
    "relaxed", "right_handed", "rms_moved", "stability_columns", "static_energies",
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
    parts: list[tuple[_Work, Sequence[Crystal], str]] = [(relax, crystals[k::n], tag)]
    if settings.hull is None:
        parts.append((static, known[k::n], "static"))
    for work, chosen, name in parts:
        for _ in _kept(work, chosen, name, settings, progress, f".{k}-{n}"):
            pass
    return len(parts[0][1])


def _relaxation(settings: Stability) -> tuple[_Work, str]:
    """The relaxation and the name of its results."""
    work = partial(relax_summary, steps=settings.steps, fmax=settings.fmax)
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


class Relaxed(NamedTuple):
    """A crystal after its relaxation.

    Attributes:
        crystal: The relaxed crystal; as it was where the relaxation failed.
        energy: CHGNet's energy of it, eV/atom; NaN where the relaxation failed.
    """

    crystal: Crystal
    energy: float


def relaxed(
    crystals: Sequence[Crystal], settings: Stability, progress: bool = False
) -> list[Relaxed]:
    """Relax cell and positions of crystals, and return them in the same order.

    Args:
        crystals: Structurally valid crystals.
        settings: ``steps``, ``fmax``, ``cache_dir`` and ``num_workers`` count here.
        progress: Show progress.
    """
    work = partial(relax_whole, steps=settings.steps, fmax=settings.fmax)
    tag = f"structures-{settings.steps}-{settings.fmax:g}"
    out = []
    for crystal, row in zip(crystals, _kept(work, crystals, tag, settings, progress), strict=True):
        found = relaxed_crystal(right_handed(crystal), row)
        out.append(Relaxed(crystal, np.nan) if found is None else Relaxed(found, row[0]))
    return out


def static_energies(
    crystals: Sequence[Crystal], settings: Stability, progress: bool = False
) -> NDArray[np.float64]:
    """Return CHGNet's energy of crystals as they are, eV/atom, (M,); NaN where it failed."""
    rows = list(_kept(static, crystals, "static", settings, progress))
    return np.array([row[0] for row in rows], dtype=np.float64)


def _entries(known: Sequence[Crystal], settings: Stability, progress: bool) -> list[PDEntry]:
    energies = static_energies(known, settings, progress)
    return [
        PDEntry(Composition.from_dict(counts(c)), energy * len(c))
        for c, energy in zip(known, energies, strict=True)
        if np.isfinite(energy)
    ]


def _kept(
    work: _Work,
    crystals: Sequence[Crystal],
    tag: str,
    settings: Stability,
    progress: bool,
    suffix: str = "",
) -> Iterator[list[float]]:
    return kept_results(
        work, crystals, tag, settings.cache_dir, num_workers=settings.num_workers,
        progress=progress, suffix=suffix,
    )  # fmt: skip
