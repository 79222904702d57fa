"""What judges say of the samples, as columns of the table of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.protocol import Entry, Protocol
from pyg_crysdiff.evaluation.stability import Judgement, judge_all
from pyg_crysdiff.evaluation.sun import METASTABLE_AT, known_crystals
from pyg_crysdiff.evaluation.uniqueness import kinds, novel
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.relaxation import Energies, read_energies

LEAST = 2  # of several judges so many must answer
_AVERAGED = ("e_above_hull", "e_above_hull_submitted", "relax_rms", "volume_change")


@dataclass(frozen=True)
class Judged:
    """What was found beside the columns.

    Attributes:
        relaxed: Judge to the relaxed crystal of every entry; None where there is none.
        facts: Of every judge: its name, settings and hull, and how many entries it left open.
    """

    relaxed: dict[str, list[Crystal | None]] = field(default_factory=dict)
    facts: list[dict[str, Any]] = field(default_factory=list)


def add_judgements(
    table: pd.DataFrame, samples: Sequence[Entry], protocol: Protocol
) -> tuple[pd.DataFrame, Judged]:
    """Relax the valid crystals, and return the table with the columns of every judge.

    With one judge its columns have the names of :class:`Judgement`. With several each has
    ``@judge`` behind its names, and those without are of all: the mean over the judges that
    answer, of whom there must be two; ``e_above_hull_spread`` is the largest less the smallest,
    ``e_above_hull_judges`` the number of answers.
    """
    assert protocol.stability is not None
    flags = table["valid"].to_numpy(dtype=bool)
    places = [i for i, entry in enumerate(samples) if flags[i] and isinstance(entry, Crystal)]
    crystals = [c for c in (samples[i] for i in places) if isinstance(c, Crystal)]
    own = None
    if protocol.stability.energies is not None:
        own = _own_energies(samples, places, protocol)
    known = [*protocol.reference, *protocol.train]
    found = judge_all(crystals, known, protocol.stability, protocol.progress, own)
    columns = found[0].columns if len(found) == 1 else _of_several(found)
    columns |= _after_relaxation(columns, found, protocol)
    whole = {name: _in_place(values, places, len(samples)) for name, values in columns.items()}
    relaxed = {j.name: _all_of(j.relaxed, places, len(samples)) for j in found if any(j.relaxed)}
    return table.assign(**whole), Judged(relaxed, [{"name": j.name, **j.facts} for j in found])


def _own_energies(samples: Sequence[Entry], places: Sequence[int], protocol: Protocol) -> Energies:
    """Read the user's energies of the valid crystals."""
    settings = protocol.stability
    assert settings is not None
    assert settings.energies is not None
    found = read_energies(settings.energies, samples, settings.scheme or None)
    return replace(found, values=found.values[list(places)])


def _of_several(found: Sequence[Judgement]) -> dict[str, NDArray[Any]]:
    """Return the columns of every judge, and those of all."""
    out = {f"{key}@{j.name}": values for j in found for key, values in j.columns.items()}
    together: dict[str, NDArray[Any]] = {}
    for key in _AVERAGED:
        answers = np.array([j.columns[key] for j in found if key in j.columns])
        if len(answers):
            together[key] = _mean_of_answers(answers, LEAST if "hull" in key else 1)
    above = np.array([j.columns["e_above_hull"] for j in found])
    count = np.isfinite(above).sum(0)
    spread = np.nanmax(np.where(np.isfinite(above), above, -np.inf), axis=0) - np.nanmin(
        np.where(np.isfinite(above), above, np.inf), axis=0
    )
    together["e_above_hull_spread"] = np.where(count >= LEAST, spread, np.nan)
    together["e_above_hull_judges"] = count.astype(np.float64)
    return together | out


def _mean_of_answers(answers: NDArray[np.float64], least: int) -> NDArray[np.float64]:
    """Return the mean over judges (J, M) of the finite answers; NaN where there are too few."""
    known = np.isfinite(answers)
    count = known.sum(0)
    total = np.where(known, answers, 0.0).sum(0)
    return np.where(count >= least, total / np.maximum(count, 1), np.nan)


def _after_relaxation(
    columns: Mapping[str, NDArray[Any]], found: Sequence[Judgement], protocol: Protocol
) -> dict[str, NDArray[Any]]:
    """Compare the relaxed crystals near the hull with each other and with known ones.

    Only of crystals near the hull does it matter whether they are unique and new. The relaxed
    crystal is that of the first judge that has one.
    """
    assert protocol.stability is not None
    if not protocol.uniqueness:
        return {}
    limit = max(METASTABLE_AT, protocol.stability.stable_at)
    near = np.flatnonzero(columns["e_above_hull"] <= limit)
    pairs = [(i, c) for i in near if (c := _first_relaxed(found, int(i))) is not None]
    places, crystals = [i for i, _ in pairs], [c for _, c in pairs]
    options: dict[str, Any] = {"num_workers": protocol.num_workers, "progress": protocol.progress}
    size = len(columns["e_above_hull"])
    out = {"kind_relaxed": np.full(size, np.nan)}
    out["kind_relaxed"][places] = np.asarray(places, dtype=float)[kinds(crystals, **options)]
    known = known_crystals(protocol)
    if known is not None:
        out["novel_relaxed"] = np.full(size, np.nan)
        out["novel_relaxed"][places] = novel(crystals, known, **options)
    return out


def _first_relaxed(found: Sequence[Judgement], index: int) -> Crystal | None:
    for judgement in found:
        crystal = judgement.relaxed[index]
        if crystal is not None and structural_problem(crystal) is None:
            return crystal
    return None


def _in_place(values: NDArray[Any], places: Sequence[int], count: int) -> NDArray[Any]:
    """Put values of chosen entries in their places; NaN, or no text, elsewhere."""
    texts = values.dtype == object
    out = np.full(count, "" if texts else np.nan, dtype=object if texts else np.float64)
    out[list(places)] = values
    return out


def _all_of(
    relaxed: Sequence[Crystal | None], places: Sequence[int], count: int
) -> list[Crystal | None]:
    out: list[Crystal | None] = [None] * count
    for place, crystal in zip(places, relaxed, strict=True):
        out[place] = crystal
    return out
