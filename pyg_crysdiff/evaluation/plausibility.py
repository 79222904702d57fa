"""Warnings where a result is implausible, one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyg_crysdiff.evaluation.sun import (
    FAR,
    FAR_BELOW,
    METASTABLE_AT,
    judges_of,
    novelty_column,
)

NEARLY_ALL, HARDLY_ANY = 0.95, 0.05
MOST = 0.5
MANY_MOVED = 0.25
SOME_BELOW = 0.02
FEW = 10  # crystals of which no share says anything


def implausible(table: pd.DataFrame, judges: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what in an evaluation of stability should not be believed as it stands.

    - nearly all crystals are stable and hardly any is novel;
    - some lie far below the hull;
    - the hull is unknown for most;
    - relaxations moved many crystals by more than 1 A, failed for half, or did not converge;
    - crystals hold elements that a judge was not trained for;
    - a hull was made by another judge, with other settings, on another energy scale or of
      unrelaxed energies, or does not say.

    Args:
        table: Table of an evaluation with the columns of the judges.
        judges: Facts on each judge (:class:`pyg_crysdiff.evaluation.stability.Judgement`) with its
            ``name``.
    """
    valid = table[table["valid"]]
    out = list(_copies(valid))
    several = judges_of(table)
    for facts in judges:
        at = f"@{facts['name']}" if several else ""
        out += [f"{facts['judge']}: {line}" for line in _of_judge(valid, facts, at)]
    return out


def _copies(valid: pd.DataFrame) -> Iterator[str]:
    name = novelty_column(valid)
    if name is None or len(valid) < FEW:
        return
    near = float((valid["e_above_hull"] <= METASTABLE_AT).mean())
    new = float((valid[name].dropna() == 1).mean())
    if near >= NEARLY_ALL and new <= HARDLY_ANY:
        yield (
            f"{near:.0%} of the valid crystals are within {METASTABLE_AT} eV/atom of the hull and "
            f"{new:.0%} are novel: these are known crystals, and their stability says nothing of "
            "the model"
        )


def _of_judge(valid: pd.DataFrame, facts: Mapping[str, Any], at: str) -> Iterator[str]:
    if len(valid) >= FEW:
        yield from _energies(valid, at)
        yield from _relaxations(valid, at)
    outside = facts.get("outside") or {"crystals": 0}
    if outside["crystals"]:
        yield (
            f"{outside['crystals']} crystals hold {', '.join(outside['elements'])}, for which it "
            "was not trained"
        )
    yield from _hull(facts)


def _energies(valid: pd.DataFrame, at: str) -> Iterator[str]:
    energy = np.isfinite(valid[f"relaxed_energy{at}"].to_numpy(dtype=float))
    above = valid[f"e_above_hull{at}"].to_numpy(dtype=float)
    known = np.isfinite(above)
    failed = 1 - float(energy.mean())
    if failed >= MOST:
        yield f"no energy for {failed:.0%} of the valid crystals; they count as unstable"
    unknown = float((energy & ~known).sum() / max(energy.sum(), 1))
    if unknown > MOST:
        yield (
            f"the hull is unknown for {unknown:.0%} of the crystals that have an energy; they "
            "count as unstable. Make a hull with their systems (crysdiff hull --systems)"
        )
    if known.any() and (far := float((above[known] < FAR_BELOW).mean())) >= SOME_BELOW:
        yield (
            f"{far:.0%} of the crystals lie more than {-FAR_BELOW} eV/atom below the hull: it "
            "lacks phases in their systems, its energies are on another scale, or the judge is "
            "wrong there. The rates that end in _plausible leave them out"
        )


def _relaxations(valid: pd.DataFrame, at: str) -> Iterator[str]:
    if f"relax_rms{at}" not in valid:
        return
    moved = valid[f"relax_rms{at}"].dropna().to_numpy(dtype=float)
    far = float((moved > FAR).mean()) if len(moved) else 0.0
    if far > MANY_MOVED:
        yield (
            f"the atoms of {far:.0%} of the crystals moved more than {FAR:g} A: the energies after "
            "relaxation are those of other crystals than the generated ones"
        )
    converged = valid[f"relax_converged{at}"].dropna()
    if len(converged) and (open_ := 1 - float(converged.mean())) > MOST:
        yield f"{open_:.0%} of the relaxations did not converge; allow more steps"


def _hull(facts: Mapping[str, Any]) -> Iterator[str]:
    """Say where a hull does not fit the judge, as far as its file says who made it."""
    hull = facts["hull"]
    scale = facts.get("scheme") or ""
    if facts["name"] == "energies" or not hull["judge"]:
        if not (hull["scheme"] or hull["judge"]):
            yield f"the hull does not say on which energy scale it is (here: {scale or 'unknown'})"
        elif hull["scheme"] and hull["scheme"] != scale:
            yield (
                f"the energies are of the scheme {scale or 'unknown'!r}, the hull of "
                f"{hull['scheme']!r}"
            )
        return
    if hull["judge"] != facts["judge"]:
        yield f"the hull was made by {hull['judge']}, whose energies cannot be compared"
    elif hull["settings"] == {"steps": 0} and facts["settings"] != {"steps": 0}:
        yield (
            "the hull is of unrelaxed energies, so that relaxed samples look better than they are "
            "(crysdiff hull relaxes them)"
        )
    elif hull["settings"] != facts["settings"]:
        yield (
            f"the hull was relaxed with other settings ({_words(hull['settings'])}) than the "
            f"samples ({_words(facts['settings'])})"
        )


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items()) or "not said"
