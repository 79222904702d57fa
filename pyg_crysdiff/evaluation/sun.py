"""Stable, unique, novel: shares of ALL generated crystals, and those of them that are on target.

*Stable* is at or below the convex hull, *metastable* within 0.1 eV/atom of it, stable ones
included. A distinct kind of crystals counts once, where one of its members is stable and novel at
the same time; that the first of the kind was not does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.protocol import Protocol
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.statistics import mean_of, statistic_estimate
from pyg_crysdiff.known.database import Database

AT_HULL = 1e-6  # eV/atom: rounding, not physics
METASTABLE_AT = 0.1  # eV/atom
FAR_BELOW = -0.1  # eV/atom: no unknown crystal is so much better than the hull of all known ones
FAR = 1.0  # A, of the atoms of a crystal that became another one
SIZES = ((1, 4), (5, 8), (9, 12), (13, 16), (17, 20), (21, None))
_LEVELS = (("stable_at_hull", "sun_at_hull", AT_HULL), ("metastable", "msun", METASTABLE_AT))


def known_crystals(protocol: Protocol) -> Sequence[Crystal] | Database | None:
    """Return what novel crystals must not match; None where there is nothing."""
    if protocol.database is not None:
        return Database(protocol.database)
    return protocol.train or None


def novelty_column(table: pd.DataFrame) -> str | None:
    """Return the column that says whether a crystal is novel; None where nothing was compared."""
    return next((name for name in ("novel_database", "novel") if name in table), None)


def judges_of(table: pd.DataFrame) -> list[str]:
    """Return the judges whose columns a table holds beside those of all."""
    start = "e_above_hull@"
    return [name.removeprefix(start) for name in table if name.startswith(start)]


def sun_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Return S.U.N. and MSUN with their parts, as relaxed and as submitted, and on target.

    Args:
        table: Table of an evaluation with the columns of
            :func:`pyg_crysdiff.evaluation.judged_table.add_judgements`.
        protocol: Gives the bootstrap and what is on target.

    Returns:
        Rates by :mod:`pyg_crysdiff.evaluation.definitions`. Those that need uniqueness or novelty
        are left out where not all crystals near the hull were compared.
    """
    out = _parts(table, protocol)
    out |= _levels(table, protocol, "e_above_hull", "")
    out |= _levels(table, protocol, "e_above_hull_submitted", "_submitted")
    out |= _plausible(table, protocol)
    if {"kind_relaxed", "novel_relaxed"} <= set(table):
        out |= _by_relaxed_crystals(table, protocol)
    out |= _relaxations(table, protocol, "")
    out |= _on_target(table, protocol)
    for name in judges_of(table):
        at = f"@{name}"
        out |= _levels(table, protocol, f"e_above_hull{at}", at)
        out |= _relaxations(table, protocol, at)
    if "e_above_hull_spread" in table:
        out["judges_differ"] = mean_of(
            table["e_above_hull_spread"].dropna(), protocol, proportion=False
        )
    return out


def counted(
    table: pd.DataFrame, good: NDArray[np.bool_], kind: str = "kind", new: str | None = None
) -> NDArray[np.bool_] | None:
    """Return for each entry whether it counts: the first of its kind that is good and novel, (N,).

    Args:
        table: Table of an evaluation.
        good: Which entries are good enough, (N,).
        kind: Column of the kinds.
        new: Column of novelty; None for the usual one.

    Returns:
        None where a good entry was not compared with the others or the known crystals.
    """
    new = new or novelty_column(table)
    if new is None or not {kind, new} <= set(table):
        return None
    rows = table[good]
    if rows[[kind, new]].isna().any(axis=None):
        return None
    chosen = rows[rows[new].astype(bool)].drop_duplicates(kind).index
    return np.asarray(table.index.isin(chosen))


def on_target(table: pd.DataFrame, protocol: Protocol) -> NDArray[np.bool_] | None:
    """Return whether the predicted property meets the request, (N,); None where none is stated.

    Within ``protocol.interval``; without one, at or below the limit of SR5.
    """
    if "predicted" not in table:
        return None
    values = table["predicted"].to_numpy(dtype=np.float64)
    if protocol.interval is not None:
        low, high = protocol.interval
        return np.asarray((values >= low) & (values <= high))
    limits = protocol.success_thresholds()
    return None if limits is None else np.asarray(values <= limits[0])


def by_size(table: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Return the rates of crystals by their number of atoms.

    Returns:
        A row for each range of :data:`SIZES` that occurs: ``atoms``, ``crystals``, the rates
        ``stable_at_hull``, ``metastable``, ``sun_at_hull`` and ``msun`` of these crystals, each
        with its interval, and the mean distance moved ``relax_rms`` (A).
    """
    rows = []
    for low, high in SIZES:
        inside = (table["num_atoms"] >= low) & (table["num_atoms"] <= (high or np.inf))
        part = table[inside].reset_index(drop=True)
        if not len(part):
            continue
        row: dict[str, object] = {"atoms": f"{low}-{high}" if high else f"{low}+"}
        row["crystals"] = len(part)
        for key, found in _levels(part, protocol, "e_above_hull", "").items():
            row |= {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}
        if "relax_rms" in part:
            row["relax_rms"] = mean_of(part["relax_rms"].dropna(), protocol, proportion=False).value
        rows.append(row)
    return pd.DataFrame(rows)


def _parts(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Shares of all entries that are valid and unique, or valid and novel."""
    valid = table["valid"].to_numpy(dtype=bool)
    out: dict[str, Estimate] = {}
    if "kind" in table and not table.loc[valid, "kind"].isna().any():
        first = table.index.isin(table[valid].drop_duplicates("kind").index)
        out["unique_of_all"] = mean_of(first, protocol)
    name = novelty_column(table)
    if name is not None and not table.loc[valid, name].isna().any():
        out["novel_of_all"] = mean_of(valid & (table[name] == 1), protocol)
    return out


def _levels(
    table: pd.DataFrame, protocol: Protocol, column: str, suffix: str
) -> dict[str, Estimate]:
    """Stable and metastable shares, alone and with unique and novel."""
    if column not in table:
        return {}
    above = table[column].to_numpy(dtype=np.float64)
    out: dict[str, Estimate] = {}
    for stable, sun, limit in _LEVELS:
        good = above <= limit
        out[f"{stable}{suffix}"] = mean_of(good, protocol)
        chosen = counted(table, good)
        if chosen is not None:
            out[f"{sun}{suffix}"] = mean_of(chosen, protocol)
    return out


def _plausible(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """S.U.N. and MSUN without crystals far below the hull, and the share of these."""
    above = table["e_above_hull"].to_numpy(dtype=np.float64)
    near, hit = above >= FAR_BELOW, on_target(table, protocol)
    out = {"far_below_hull": mean_of(above < FAR_BELOW, protocol)}
    for _, sun, limit in _LEVELS:
        good = near & (above <= limit)
        wanted = {f"{sun}_plausible": good}
        if hit is not None:
            wanted[f"{sun}_on_target_plausible"] = good & hit
        for key, chosen in wanted.items():
            if (found := counted(table, chosen)) is not None:
                out[key] = mean_of(found, protocol)
    return out


def _by_relaxed_crystals(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """S.U.N. and MSUN where the relaxed crystals are compared, not the generated ones."""
    above = table["e_above_hull"].to_numpy(dtype=np.float64)
    compared = table["kind_relaxed"].notna().to_numpy()
    out: dict[str, Estimate] = {}
    for _, sun, limit in _LEVELS:
        chosen = counted(table, (above <= limit) & compared, "kind_relaxed", "novel_relaxed")
        assert chosen is not None
        out[f"{sun}_relaxed"] = mean_of(chosen, protocol)
    return out


def _relaxations(table: pd.DataFrame, protocol: Protocol, at: str) -> dict[str, Estimate]:
    """How relaxations of the valid crystals ended; ``at`` is the end of a judge's columns."""
    valid = table[table["valid"]]
    out: dict[str, Estimate] = {}
    if f"relax_rms{at}" not in valid:
        return out
    moved = valid[f"relax_rms{at}"].to_numpy(dtype=np.float64)
    done = np.isfinite(moved)
    out[f"relax_failed{at}"] = mean_of(~done, protocol)
    if f"relax_converged{at}" in valid:
        out[f"relax_converged{at}"] = mean_of(valid[f"relax_converged{at}"] == 1, protocol)
    near = moved[done]
    if at:
        out[f"relax_rms{at}"] = mean_of(near, protocol, proportion=False)
    out[f"relax_rms_median{at}"] = statistic_estimate(
        lambda chosen: float(np.median(near[chosen])), len(near), protocol.num_bootstrap,
        protocol.seed,
    )  # fmt: skip
    out[f"moved_far{at}"] = mean_of(near > FAR, protocol)
    change = np.abs(valid[f"volume_change{at}"].dropna())
    out[f"volume_change{at}"] = mean_of(change, protocol, proportion=False)
    unknown = done & valid[f"e_above_hull{at}"].isna().to_numpy()
    out[f"hull_unknown{at}"] = mean_of(unknown, protocol)
    return out


def _on_target(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Stable, unique, novel and on target: per generated crystal and per relaxation."""
    hit = on_target(table, protocol)
    if hit is None:
        return {}
    above = table["e_above_hull"].to_numpy(dtype=np.float64)
    relaxed = table["valid"].to_numpy(dtype=bool)
    out = {"on_target": mean_of(hit & relaxed, protocol)}
    for _, sun, limit in _LEVELS:
        chosen = counted(table, (above <= limit) & hit)
        if chosen is not None:
            out[f"{sun}_on_target"] = mean_of(chosen, protocol)
            out[f"{sun}_on_target_per_relaxation"] = mean_of(chosen[relaxed], protocol)
    return out
