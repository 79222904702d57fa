"""Functions of :mod:`pyg_crysdiff.evaluation.stability` in version 0.1, on the relaxation wing.

They go with the next release: take :func:`pyg_crysdiff.relaxation.relax` and ``single_points``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.stability_settings import Stability
from pyg_crysdiff.relaxation import Relaxation, relax, single_points


class Relaxed(NamedTuple):
    """A crystal after its relaxation, as it was where that failed; its energy, eV/atom or NaN."""

    crystal: Crystal
    energy: float


def relaxed(
    crystals: Sequence[Crystal], settings: Stability, progress: bool = False
) -> list[Relaxed]:
    """Relax cell and positions of crystals, and return them in the same order."""
    found = _relax(crystals, settings, progress)
    return [
        Relaxed(c if r.crystal is None else r.crystal, r.energy)
        for c, r in zip(crystals, found, strict=True)
    ]


def relaxations(
    crystals: Sequence[Crystal], settings: Stability, progress: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Relax crystals; return energies before and after (eV/atom), distance (A), convergence."""
    found = _relax(crystals, settings, progress)
    names = {
        "relaxed_energy": "energy", "initial_energy": "energy_before", "relax_rms": "moved",
        "relax_converged": "converged",
    }  # fmt: skip
    return {
        key: np.array([getattr(r, name) for r in found], dtype=np.float64)
        for key, name in names.items()
    }


def static_energies(
    crystals: Sequence[Crystal], settings: Stability, progress: bool = False
) -> NDArray[np.float64]:
    """Return the judge's energy of crystals as they are, eV/atom, (M,); NaN where it failed."""
    (judge,) = settings.potentials
    found = single_points(crystals, judge, **settings.running(progress))
    return np.array([r.energy for r in found], dtype=np.float64)


def _relax(crystals: Sequence[Crystal], settings: Stability, progress: bool) -> list[Relaxation]:
    (judge,) = settings.potentials
    return relax(crystals, judge, settings.settings, **settings.running(progress))
