"""Curves of the design benchmark: different hits against evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyg_crysdiff.benchmark.design_task import POINTS
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.design.curves import hit_counts
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.objectives import Objective, hits
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.uniqueness import kinds

Counts = NDArray[np.int64]


def counts_of(ledger: Ledger, num_workers: int | None = None) -> Counts:
    """Return the number of different hits after 0, 1, ... evaluations of a run.

    Hits are different if the known crystals that they are differ, where the oracle is a look-up;
    else by pymatgen's StructureMatcher, of the crystals as evaluated.
    """
    table = ledger.evaluations().sort_values("order")
    hit = table["hit"].to_numpy(dtype=bool)
    keys = [key for key, one in zip(table["key"], hit, strict=True) if one]
    first = np.zeros(len(table), dtype=bool)
    if keys:
        first[np.flatnonzero(hit)[_first(ledger, keys, num_workers)]] = True
    return hit_counts(first)


def _first(ledger: Ledger, keys: Sequence[str], num_workers: int | None) -> NDArray[np.bool_]:
    """Say which hits match none before them."""
    facts = ledger.answer_facts(keys)
    if all("part" in facts[key] and "index" in facts[key] for key in keys):
        known = [(facts[key]["part"], facts[key]["index"]) for key in keys]
        return ~pd.Series(known).duplicated().to_numpy()
    crystals = ledger.crystals(keys)
    found = kinds([crystals[key] for key in keys], num_workers=num_workers)
    return np.asarray(found) == np.arange(len(keys))


def random_counts(
    pool: Sequence[Crystal], objectives: Sequence[Objective], budget: int, seed: int
) -> Counts:
    """Return the same of known crystals that are drawn at random, none twice."""
    order = np.random.default_rng(seed).permutation(len(pool))[:budget]
    values = {
        o.name: np.array([pool[i].info.get(o.name, np.nan) for i in order], dtype=np.float64)
        for o in objectives
    }
    return hit_counts(hits(objectives, values))


def points_of(budget: int) -> list[int]:
    """Return the numbers of evaluations at which curves are told."""
    return sorted({*(p for p in POINTS if p < budget), budget})


def estimates(curves: Sequence[Counts], budget: int) -> dict[str, Estimate]:
    """Return mean, least and greatest number of hits of several seeds, by ``design_hits@N``.

    A run that ended earlier keeps its last number.
    """
    found = {}
    for point in points_of(budget):
        values = [float(curve[min(point, len(curve) - 1)]) for curve in curves]
        found[f"design_hits@{point}"] = Estimate(float(np.mean(values)), min(values), max(values))
    return found


def bands(curves: Mapping[str, Sequence[Counts]], step: int) -> dict[str, list[list[float]]]:
    """Return for each method rows of evaluations, mean, least and greatest of its seeds."""
    out = {}
    for name, some in curves.items():
        last = max(len(curve) for curve in some) - 1
        places = sorted({*range(0, last + 1, step), last})
        rows = []
        for x in places:
            values = [float(curve[min(x, len(curve) - 1)]) for curve in some]
            rows.append([float(x), float(np.mean(values)), min(values), max(values)])
        out[name] = rows
    return out
