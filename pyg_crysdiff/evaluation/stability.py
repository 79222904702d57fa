"""Energies above a convex hull, as submitted and after relaxation, by one potential or several.

The relaxations are those of :mod:`pyg_crysdiff.relaxation`; the hulls are files of
``crysdiff hull`` or of the user (:class:`pyg_crysdiff.evaluation.hull.HullFile`). Every judge has a
hull of its own, since energies of two potentials cannot be compared.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.hull import Hull, HullFile, read_entries
from pyg_crysdiff.evaluation.known_phases import (
    chemical_systems,
    elements_without_phase,
    energies_of,
    in_systems,
    make_hull,
)
from pyg_crysdiff.evaluation.stability_settings import OWN, Stability
from pyg_crysdiff.relaxation import Judge, Relaxation, RelaxSettings, right_handed, rms_moved

if TYPE_CHECKING:
    from pyg_crysdiff.relaxation import Energies

__all__ = [
    "OWN", "Hull", "Judgement", "Stability", "judge_all", "judge_own", "read_entries",
    "relax_shard", "right_handed", "rms_moved", "stability_columns",
]  # fmt: skip
UNRELAXED = RelaxSettings(steps=0)


@dataclass(frozen=True)
class Judgement:
    """What one judge says of some crystals.

    Attributes:
        name: Name of the judge.
        columns: Values of every crystal, (M,) each: ``relaxed_energy`` and ``initial_energy``
            (eV/atom), ``e_above_hull`` and ``e_above_hull_submitted`` (of the crystal as it was;
            both against the same hull), ``relax_rms`` (A), ``volume_change``, ``relax_converged``
            (0 or 1), ``relax_steps``, ``relax_force`` (eV/A), ``relax_stress`` (GPa),
            ``relax_problem`` (text). NaN where the relaxation failed or no hull is known.
        relaxed: The relaxed crystals; None where it failed, or nothing was relaxed.
        facts: Judge, settings, hull, and how many failed or have no hull, as plain values.
    """

    name: str
    columns: dict[str, NDArray[Any]]
    relaxed: list[Crystal | None]
    facts: dict[str, Any] = field(default_factory=dict)


def judge_all(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    settings: Stability,
    progress: bool,
    own: Energies | None = None,
) -> list[Judgement]:
    """Let every judge relax crystals and place them above its hull.

    Args:
        crystals: Valid crystals.
        known: Crystals of which a hull is made for a judge without one.
        settings: Settings.
        progress: Show progress.
        own: The user's energies of the crystals, in the same order, where the settings name a file.
    """
    out = [_judge(crystals, known, settings, judge, progress) for judge in settings.potentials]
    file = settings.hull_of(OWN)
    if own is not None and file is not None:
        out.append(judge_own(crystals, own, HullFile.read(file), file))
    return out


def _judge(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    settings: Stability,
    judge: Judge,
    progress: bool,
) -> Judgement:
    running = settings.running(progress)
    file = settings.hull_of(judge.name)
    if file is not None:
        hull = HullFile.read(file)  # a bad file is told before hours of relaxation
    found = energies_of(crystals, judge, settings.settings, **running)
    if file is None:
        phases = in_systems(known, chemical_systems(crystals))
        source = "reference and training crystals, not relaxed"
        hull = make_hull(phases, judge, UNRELAXED, source=source, **running)
    columns = _columns(found)
    above = hull.hull()
    for key, energy in (
        ("e_above_hull", "relaxed_energy"), ("e_above_hull_submitted", "initial_energy"),
    ):  # fmt: skip
        columns[key] = _above(above, crystals, columns[energy])
    said = {"judge": judge.title, "settings": settings.settings.key, "scheme": judge.scheme}
    facts = said | _facts(crystals, columns, hull, file) | _outside(crystals, judge)
    return Judgement(judge.name, columns, [r.crystal for r in found], facts)


def judge_own(
    crystals: Sequence[Crystal], own: Energies, hull: HullFile, file: Path | None = None
) -> Judgement:
    """Place crystals with energies of the user's above a hull; nothing is relaxed.

    Args:
        crystals: Valid crystals.
        own: Their energies, eV/atom, in the same order; NaN where there is none.
        hull: Phases on the same energy scale.
        file: Where they come from.
    """
    energy = np.asarray(own.values, dtype=np.float64)
    above = _above(hull.hull(), crystals, energy)
    columns: dict[str, NDArray[Any]] = {
        "relaxed_energy": energy, "initial_energy": energy,
        "e_above_hull": above, "e_above_hull_submitted": above,
        "relax_problem": np.where(np.isfinite(energy), "", "no energy").astype(object),
    }  # fmt: skip
    said = {"judge": f"{OWN} of {Path(own.source).name}", "settings": {}, "scheme": own.scheme}
    facts = said | _facts(crystals, columns, hull, file)
    return Judgement(OWN, columns, [None] * len(crystals), facts)


def _columns(found: Sequence[Relaxation]) -> dict[str, NDArray[Any]]:
    names = {
        "relaxed_energy": "energy", "initial_energy": "energy_before", "relax_rms": "moved",
        "volume_change": "volume_change", "relax_force": "max_force", "relax_stress": "max_stress",
        "relax_steps": "steps",
    }  # fmt: skip
    out: dict[str, NDArray[Any]] = {
        column: np.array([getattr(r, name) for r in found], dtype=np.float64)
        for column, name in names.items()
    }
    done = np.isfinite(out["relaxed_energy"])
    converged = np.array([float(r.converged) for r in found])
    out["relax_converged"] = np.where(done, converged, np.nan)
    out["relax_problem"] = np.array([r.problem for r in found], dtype=object)
    return out


def _above(hull: Hull, crystals: Sequence[Crystal], energies: NDArray[Any]) -> NDArray[np.float64]:
    pairs = zip(crystals, energies, strict=True)
    return np.array([hull.energy_above(c, e) for c, e in pairs], dtype=np.float64)


def _facts(
    crystals: Sequence[Crystal], columns: Mapping[str, NDArray[Any]], hull: HullFile,
    file: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Say what a judge's hull is, and how many crystals it and the judge left open."""
    energy = np.isfinite(columns["relaxed_energy"])
    unknown = int((energy & ~np.isfinite(columns["e_above_hull"])).sum())
    converged = columns.get("relax_converged")
    return {
        "hull": {
            "file": None if file is None else str(file),
            "digest": hull.digest,
            "judge": hull.judge,
            "settings": dict(hull.settings),
            "scheme": hull.scheme,
            "source": hull.source,
            "phases": len(hull.phases),
        },
        "crystals": len(crystals),
        "failed": int((~energy).sum()),
        "not_converged": 0 if converged is None else int((converged == 0).sum()),
        "unknown": unknown,
        "unknown_share": unknown / len(crystals) if len(crystals) else None,
        "elements_without_phase": elements_without_phase(hull, chemical_systems(crystals)),
    }


def _outside(crystals: Sequence[Crystal], judge: Judge) -> dict[str, Any]:
    """Say how many crystals hold elements that a judge was not trained for."""
    from pymatgen.core import Element  # noqa: PLC0415

    if judge.elements is None:
        return {"outside": {"crystals": 0, "elements": []}}
    foreign = [set(c.atomic_numbers.tolist()) - judge.elements for c in crystals]
    named = sorted({z for numbers in foreign for z in numbers if 0 < z < 119})
    symbols = [Element.from_Z(z).symbol for z in named]
    return {"outside": {"crystals": sum(map(bool, foreign)), "elements": symbols}}


def relax_shard(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    settings: Stability,
    shard: tuple[int, int],
    progress: bool = False,
) -> int:
    """Relax every n-th crystal, from crystal k on, and leave the results in the cache.

    For several processes or machines that share ``cache_dir``; the evaluation then finds
    everything done.

    Args:
        crystals: Valid crystals.
        known: Crystals of which a hull is made for a judge without one.
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
    running = settings.running(progress)
    for judge in settings.potentials:
        energies_of(crystals[k::n], judge, settings.settings, **running)
        if settings.hull_of(judge.name) is None:
            phases = in_systems(known, chemical_systems(crystals))
            energies_of(phases[k::n], judge, UNRELAXED, **running)
    return len(crystals[k::n])


def stability_columns(
    crystals: Sequence[Crystal], known: Sequence[Crystal], settings: Stability, progress: bool
) -> dict[str, NDArray[Any]]:
    """Relax crystals with one judge and place them above its hull.

    Args:
        crystals: Valid crystals.
        known: Crystals of which the hull is made where no file is given.
        settings: Settings with one judge.
        progress: Show progress.

    Returns:
        The columns of a :class:`Judgement`.
    """
    (found,) = judge_all(crystals, known, settings, progress)
    return found.columns


def __getattr__(name: str) -> Any:
    """Return what version 0.1 had here, with a warning."""
    if name not in ("Relaxed", "relaxed", "relaxations", "static_energies"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pyg_crysdiff.evaluation import old_stability  # noqa: PLC0415

    warnings.warn(
        f"{__name__}.{name} goes with the next release: take relax and single_points of "
        "pyg_crysdiff.relaxation", DeprecationWarning, stacklevel=2,
    )  # fmt: skip
    return getattr(old_stability, name)
