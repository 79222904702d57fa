"""What many relaxations say together, and what is implausible about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyg_crysdiff.relaxation.records import Relaxation

_FAR, _SWOLLEN, _DEEP = 1.0, 0.3, 1.0  # A; of the volume; eV/atom
_FEW = 10  # of so few crystals nothing is said


def summarise(records: Sequence[Relaxation]) -> dict[str, Any]:
    """Return counts and medians of relaxations, JSON-able.

    Args:
        records: Relaxations by one judge.

    Returns:
        ``relaxed``, ``failed``, ``converged``: numbers of crystals; ``problems``: number of
        crystals by problem, the most frequent first; medians over what was relaxed: ``steps``,
        ``moved`` (A), ``volume_change``, ``energy_gain`` (eV/atom); ``doubts``: see
        :func:`doubts`.
    """
    good = [r for r in records if not r.problem]
    problems = Counter(_kind(r.problem) for r in records if r.problem)
    return {
        "relaxed": len(good),
        "failed": len(records) - len(good),
        "converged": sum(r.converged for r in good),
        "problems": dict(problems.most_common()),
        "steps": _median([r.steps for r in good]),
        "moved": _median([r.moved for r in good]),
        "volume_change": _median([r.volume_change for r in good]),
        "energy_gain": _median([r.energy_before - r.energy for r in good]),
        "doubts": doubts(records),
    }


def doubts(records: Sequence[Relaxation]) -> list[str]:
    """Say what is implausible about relaxations, a sentence each; none where nothing is.

    Args:
        records: Relaxations by one judge.
    """
    good = [r for r in records if not r.problem]
    unknown = sum("does not know" in r.problem for r in records)
    out = []
    if unknown:
        out.append(f"{unknown} of {len(records)} crystals hold elements that the judge never saw")
    if len(records) < _FEW:
        return out
    failed = len(records) - len(good)
    if 2 * failed >= len(records):
        out.append(f"{failed} of {len(records)} relaxations failed: the rest is a selection")
    for what, many in (
        ("did not converge: their energies are too high", [not r.converged for r in good]),
        (f"moved their atoms by more than {_FAR:g} A: they ended as other crystals",
         [r.moved > _FAR for r in good]),
        (f"changed their volume by more than {_SWOLLEN:.0%}",
         [abs(r.volume_change) > _SWOLLEN for r in good]),
        (f"gained more than {_DEEP:g} eV/atom: they started far from any crystal",
         [r.energy_before - r.energy > _DEEP for r in good]),
    ):  # fmt: skip
        if 5 * sum(many) >= max(len(good), 1):
            out.append(f"{sum(many)} of {len(good)} relaxations {what}")
    return out


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _kind(problem: str) -> str:
    """A problem without its numbers, so that equal ones count together."""
    return " ".join(word for word in problem.split() if not any(c.isdigit() for c in word))
