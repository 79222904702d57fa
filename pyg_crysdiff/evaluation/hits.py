"""Hits of a search for a low property: how many different ones, and how many of those known.

A *hit* is a crystal at or below the limit of SR5. Hits by the look-up are counted as different
known crystals; hits by an evaluator as different kinds of crystals, by the matcher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.lookup import has_value
from pyg_crysdiff.evaluation.protocol import Protocol
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.statistics import mean_of
from pyg_crysdiff.evaluation.success import PERCENTILES

TRAIN = "train"
_DRAWS = (1000, 5000, 10_000)


def lookup_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Return what the known values of matched crystals say, and the numbers of hits.

    Args:
        table: Table of an evaluation with the columns of the look-up.
        protocol: Gives the limits, the known crystals and the bootstrap.
    """
    value = table["known_value"].to_numpy(dtype=np.float64)
    matched = table["known_part"].to_numpy() != ""
    out = {"lookup_matched": mean_of(matched, protocol)}
    limits = protocol.success_thresholds() or ()
    for percent, limit in zip(PERCENTILES, limits, strict=False):
        out[f"lookup_sr{percent}_all"] = mean_of(value <= limit, protocol)
    if "predicted" in table:
        error = np.abs(table["predicted"].to_numpy(dtype=np.float64) - value)
        out["lookup_mae"] = mean_of(error[np.isfinite(error)], protocol, proportion=False)
    if limits:
        name = protocol.lookup_name()
        assert name is not None
        out |= hit_counts(table, limits[0], held_out_hits(protocol.lookup, name, limits[0]))
    return out


def hit_counts(
    table: pd.DataFrame, limit: float, held_out: int | None = None
) -> dict[str, Estimate]:
    """Count the different known crystals at or below the limit among the samples.

    Args:
        table: Table of an evaluation with the columns of the look-up.
        limit: Upper limit of the known value.
        held_out: Number of known hits outside the part ``train``; None where no part is the
            training set, which leaves out all that is said relative to it.

    Returns:
        ``distinct_hits``, ``new_hits`` and ``held_out_found@N`` for N = 1,000, 5,000, 10,000 and
        all samples, as far as there are so many.
    """
    hits = distinct_hits(table, limit)
    out = {"distinct_hits": Estimate(float(len(hits)))}
    if held_out is None:
        return out
    draws = hits["draw"][hits["known_part"] != TRAIN].to_numpy()
    out["new_hits"] = Estimate(float(len(draws)))
    if held_out:
        for first in sorted({*(n for n in _DRAWS if n < len(table)), len(table)}):
            share = float((draws <= first).sum()) / held_out
            out[f"held_out_found@{first}"] = Estimate(share)
    return out


def distinct_hits(table: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Return the different known crystals at or below the limit, in the order they were found.

    Args:
        table: Table of an evaluation with the columns of the look-up.
        limit: Upper limit of the known value.

    Returns:
        A row for each, with ``draw`` (from 1, the sample that first matched it), ``known_part``,
        ``known_index``, ``known_id`` and ``known_value``.
    """
    columns = ["known_part", "known_index", "known_id", "known_value"]
    named = table[columns].assign(draw=np.arange(1, len(table) + 1))
    hits = named[named["known_value"] <= limit]
    return hits.drop_duplicates(["known_part", "known_index"]).reset_index(drop=True)


def held_out_hits(
    parts: Mapping[str, Sequence[Crystal]], property_name: str, limit: float
) -> int | None:
    """Return how many known crystals outside the part ``train`` lie at or below the limit.

    None where there is no such part.
    """
    if TRAIN not in parts:
        return None
    return sum(
        known_hits(crystals, property_name, limit)
        for part, crystals in parts.items()
        if part != TRAIN
    )


def known_hits(crystals: Sequence[Crystal], property_name: str, limit: float) -> int:
    """Return how many crystals have a value of the property at or below the limit."""
    return sum(has_value(c, property_name) and c.info[property_name] <= limit for c in crystals)


def predicted_hits(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Count the different valid crystals whose predicted property is at or below SR5's limit.

    Args:
        table: Table of an evaluation.
        protocol: Gives the limit.

    Returns:
        ``distinct_hits_predicted``, and ``new_hits_predicted`` where all of these were compared
        with the training set. Nothing where there is no limit, or some valid crystals were not
        compared with each other.
    """
    limits = protocol.success_thresholds()
    if limits is None or not {"kind", "predicted"} <= set(table.columns):
        return {}
    if table.loc[table["valid"], "kind"].isna().any():
        return {}
    hits = table[table["valid"] & (table["predicted"] <= limits[0])].drop_duplicates("kind")
    out = {"distinct_hits_predicted": Estimate(float(len(hits)))}
    if "novel" in hits and not hits["novel"].isna().any():
        out["new_hits_predicted"] = Estimate(float((hits["novel"] == 1).sum()))
    return out


def lookup_facts(protocol: Protocol, space: int | None = None) -> dict[str, Any]:
    """Return what the look-up of a protocol covers, for the settings of results.

    Args:
        protocol: Protocol with known crystals.
        space: Number of crystals of the whole space; None where it is open.

    Returns:
        ``property``, ``parts`` (name to number of crystals with a value), ``known``, ``space``,
        ``hits`` and ``held_out_hits`` at SR5's limit, and ``text``, a sentence on it for tables.
    """
    name, limits = protocol.lookup_name(), protocol.success_thresholds()
    assert name is not None
    parts = {
        part: sum(has_value(crystal, name) for crystal in crystals)
        for part, crystals in protocol.lookup.items()
    }
    known = sum(parts.values())
    facts: dict[str, Any] = {"property": name, "parts": parts, "known": known, "space": space}
    if limits is not None:
        every = protocol.lookup.values()
        facts["hits"] = sum(known_hits(crystals, name, limits[0]) for crystals in every)
        facts["held_out_hits"] = held_out_hits(protocol.lookup, name, limits[0])
    shares = ", ".join(f"{part} {count:,}" for part, count in parts.items())
    covered = ""
    if space is not None:
        covered = ", the whole space" if known == space else f" of the {space:,} of the whole space"
    return {**facts, "text": f"look-up: {name} of {known:,} known crystals{covered} ({shares})"}
