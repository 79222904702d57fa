"""Metrics from the table of an evaluation, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyg_crysdiff.evaluation import amd_distance
from pyg_crysdiff.evaluation.coverage import coverage_metrics
from pyg_crysdiff.evaluation.distribution import (
    density,
    earth_movers_distance,
    num_elements,
    total_variation,
)
from pyg_crysdiff.evaluation.fingerprints import Fingerprints, fingerprint_crystals
from pyg_crysdiff.evaluation.matching import best_rms_distances, rms_distances
from pyg_crysdiff.evaluation.protocol import Entry, Protocol
from pyg_crysdiff.evaluation.reference import predictions, space_groups
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.statistics import mean_of, statistic_estimate
from pyg_crysdiff.evaluation.success import (
    PERCENTILES,
    best_of_ten_success,
    property_success,
    strict_success,
    unique_success,
)

_DRAW = 1000
_STOL = 0.5


def validity_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Return the shares of valid entries."""
    keys = ("struct_valid", "comp_valid", "comp_valid_smact4", "valid")
    return {key: mean_of(table[key], protocol) for key in keys}


def set_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Return uniqueness and novelty, each of the valid crystals that were compared."""
    valid = table[table["valid"]]
    out = {"uniqueness": mean_of(valid["first"].dropna(), protocol)}
    if "novel" in table:
        out["novelty"] = mean_of(valid["novel"].dropna(), protocol)
    if "novel_database" in table:
        out["novelty_database"] = mean_of(valid["novel_database"].dropna(), protocol)
    if "known_part" in table:
        out["novelty_known"] = mean_of(valid["known_part"].fillna("") == "", protocol)
    if "prototype" in table:
        kinds = valid["prototype"].dropna()
        out["uniqueness_prototype"] = mean_of(~kinds.duplicated(), protocol)
    if "new_prototype" in table:
        out["novelty_prototype"] = mean_of(valid["new_prototype"].dropna(), protocol)
    for key, column in (("uniqueness_amd", "amd_earlier"), ("novelty_amd", "amd_train")):
        if column in valid:
            out[key] = mean_of(valid[column] > amd_distance.SAME, protocol)
    return out


def stability_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Return stability after relaxation and S.U.N.; entries without a hull count as unstable."""
    assert protocol.stability is not None
    known = np.isfinite(table["e_above_hull"])
    stable = known & (table["e_above_hull"] <= protocol.stability.stable_at)
    out = {
        "hull_known": mean_of(known, protocol),
        "stable": mean_of(stable, protocol),
        "e_above_hull": mean_of(table["e_above_hull"][known], protocol, proportion=False),
    }
    for key in ("relaxed_energy", "relax_rms"):
        if key in table:
            out[key] = mean_of(table[key].dropna(), protocol, proportion=False)
    if "first" in table and "novel" in table:
        out["sun"] = mean_of(stable & (table["first"] == 1) & (table["novel"] == 1), protocol)
    return out


def distribution_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Return EMDs and space-group statistics."""
    valid = table[table["valid"]]
    out: dict[str, Estimate] = {}
    if protocol.space_groups:
        out["p1_share"] = mean_of(valid["space_group"] == 1, protocol)
    if not protocol.reference:
        return out
    draw = np.random.default_rng(protocol.seed).permutation(len(valid))[:_DRAW]
    for key, column, known in (
        ("density_emd", "density", [density(c) for c in protocol.reference]),
        ("num_elements_emd", "num_elements", [num_elements(c) for c in protocol.reference]),
    ):
        out[key] = _emd(valid[column], known, protocol)
        drawn = earth_movers_distance(valid[column].to_numpy()[draw], known)
        out[f"{key}_{_DRAW}"] = Estimate(drawn)
    if not protocol.space_groups:
        return out
    groups = space_groups(
        protocol.reference, num_workers=protocol.num_workers, cache_dir=protocol.cache_dir,
        progress=protocol.progress,
    )  # fmt: skip
    values = valid["space_group"].to_numpy()
    out["spacegroup_tv"] = statistic_estimate(
        lambda chosen: total_variation(values[chosen], groups),
        len(values),
        protocol.num_bootstrap,
        protocol.seed,
    )
    return out


def coverage_of(prints: Fingerprints, protocol: Protocol) -> dict[str, Estimate]:
    """Return COV, AMSD and AMCD."""
    reference = fingerprint_crystals(
        protocol.reference,
        num_workers=protocol.num_workers,
        cache_dir=protocol.cache_dir,
        progress=protocol.progress,
    )
    return coverage_metrics(
        prints, reference, protocol.cutoffs, protocol.num_bootstrap, protocol.seed
    )


def property_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Return success rates, distance to the target and the property's EMD."""
    valid = table["valid"] & np.isfinite(table["predicted"])
    predicted = table["predicted"].to_numpy()
    out = success_rates(table, protocol)
    if protocol.target is not None:
        out["target_mae"] = mean_of(
            np.abs(predicted[valid] - protocol.target), protocol, proportion=False
        )
    if protocol.reference and protocol.task == "generation" and protocol.evaluator is not None:
        known = predictions(
            protocol.evaluator, protocol.reference, cache_dir=protocol.cache_dir,
            progress=protocol.progress,
        )  # fmt: skip
        out["property_emd"] = _emd(predicted[valid], known, protocol)
    return out


def success_rates(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    """Return the rates of SR5, SR10 and SR15 by every definition that the samples allow.

    The unique ones need every valid crystal compared with those before it; best of ten needs
    ``protocol.num_starts``.
    """
    predicted, valid = table["predicted"].to_numpy(), table["valid"]
    kind = table["kind"].to_numpy() if "kind" in table else None
    if kind is not None and np.isnan(kind[valid]).any():
        kind = None
    out: dict[str, Estimate] = {}
    for p, limit in zip(PERCENTILES, protocol.success_thresholds() or (), strict=False):
        rates = {
            "all": property_success(predicted, limit),
            "strict": strict_success(predicted, valid, limit),
        }
        if kind is not None:
            rates["unique"] = unique_success(predicted, valid, limit, kind)
        if protocol.num_starts is not None:
            starts = protocol.num_starts
            best = best_of_ten_success(predicted, valid, limit, num_starts=starts)
            rates |= {"best10": best} if len(best) else {}
        out |= {f"sr{p}_{rule}": mean_of(values, protocol) for rule, values in rates.items()}
    return out


def reconstruction_metrics(
    samples: Sequence[Entry], table: pd.DataFrame, protocol: Protocol
) -> dict[str, Estimate]:
    """Return match rates, RMSEs, METRe and cRMSE; adds the columns ``rms`` and ``rms_struct``."""
    geometric = rms_distances(
        samples,
        protocol.reference,
        valid=table["struct_valid"].tolist(),
        num_workers=protocol.num_workers,
        progress=protocol.progress,
    )
    rms = np.where(table["valid"], geometric, np.nan)
    table["rms"], table["rms_struct"] = rms, geometric
    matched = np.isfinite(rms)
    best = best_rms_distances(
        samples,
        protocol.reference,
        valid=table["valid"].tolist(),
        num_workers=protocol.num_workers,
        progress=protocol.progress,
    )
    return {
        "match_rate": mean_of(matched, protocol),
        "rmse": mean_of(rms[matched], protocol, proportion=False),
        "match_rate_struct": mean_of(np.isfinite(geometric), protocol),
        "rmse_struct": mean_of(geometric[np.isfinite(geometric)], protocol, proportion=False),
        "metre": mean_of(np.isfinite(best), protocol),
        "crmse": mean_of(np.nan_to_num(best, nan=_STOL), protocol, proportion=False),
    }


def _emd(
    generated: pd.Series | NDArray, known: Sequence[float] | NDArray, protocol: Protocol
) -> Estimate:
    values = np.asarray(generated, dtype=np.float64)
    reference = np.asarray(known, dtype=np.float64)
    return statistic_estimate(
        lambda chosen: earth_movers_distance(values[chosen], reference),
        len(values),
        protocol.num_bootstrap,
        protocol.seed,
    )
