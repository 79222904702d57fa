"""One evaluation for everybody's samples.

The way of the data: entries of a sample file -> one table with a row per entry (validity,
composition, property, uniqueness, novelty) -> metrics with bootstrap intervals and definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation import amd_distance
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.coverage import coverage_metrics
from pyg_crysdiff.evaluation.definitions import definition
from pyg_crysdiff.evaluation.distribution import (
    density,
    earth_movers_distance,
    num_elements,
    reduced_formula,
    space_group,
    total_variation,
)
from pyg_crysdiff.evaluation.fingerprints import Fingerprints, fingerprint_crystals
from pyg_crysdiff.evaluation.matching import best_rms_distances, rms_distances
from pyg_crysdiff.evaluation.property_model import PropertyModel
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.statistics import mean_estimate, statistic_estimate
from pyg_crysdiff.evaluation.success import (
    PERCENTILES,
    best_of_ten_success,
    percentile_thresholds,
    strict_success,
)
from pyg_crysdiff.evaluation.uniqueness import first_occurrences, novel
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.parallel import parallel_map

_DRAW = 1000
_STOL = 0.5
TASKS = ("generation", "reconstruction", "optimisation")
Entry = Crystal | BrokenEntry


@dataclass(frozen=True)
class Protocol:
    """What samples are measured against; shared by all methods of one table.

    Attributes:
        task: ``generation``, ``reconstruction`` or ``optimisation``.
        reference: Crystals for EMD, COV and, one by one, reconstruction.
        train: Training crystals, for novelty (and percentiles).
        evaluator: Property evaluator.
        target: Requested property value.
        thresholds: Limits of SR5, SR10, SR15; None for percentiles of the training set.
        space_groups: Find the space group of every crystal.
        uniqueness: Compare the samples with each other and with the training set.
        cutoffs: Family name to (structure, composition) cut-offs of COV; the first is the main one.
        seed: Seed of the bootstrap.
        num_bootstrap: Resamples; 0 for no intervals.
        num_workers: Processes; None for all cores.
        cache_dir: Folder for fingerprints of the reference set; None for no cache.
        progress: Show progress.
    """

    task: str = "generation"
    reference: Sequence[Crystal] = ()
    train: Sequence[Crystal] = ()
    evaluator: PropertyModel | None = None
    target: float | None = None
    thresholds: tuple[float, float, float] | None = None
    space_groups: bool = True
    uniqueness: bool = True
    cutoffs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seed: int = 0
    num_bootstrap: int = 1000
    num_workers: int | None = None
    cache_dir: Path | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {TASKS}, got {self.task!r}")
        if self.task == "optimisation" and self.evaluator is None:
            raise ValueError("the optimisation task needs a property evaluator")
        if self.task == "reconstruction" and not self.reference:
            raise ValueError("the reconstruction task needs reference crystals")

    def success_thresholds(self) -> tuple[float, float, float] | None:
        """Return the limits of SR5, SR10 and SR15, or None where nothing fixes them."""
        if self.thresholds is not None or self.evaluator is None or not self.train:
            return self.thresholds
        name = self.evaluator.property_name
        return percentile_thresholds([c.info[name] for c in self.train])


@dataclass(frozen=True)
class Evaluation:
    """Result of :func:`evaluate`.

    Attributes:
        metrics: Metric key to value with 95 % interval.
        definitions: The meaning of each key.
        table: One row per entry.
    """

    metrics: dict[str, Estimate]
    definitions: dict[str, str]
    table: pd.DataFrame


def evaluate(samples: Sequence[Entry], protocol: Protocol) -> Evaluation:
    """Score the entries of a sample file.

    Broken and invalid entries stay in every denominator that counts all entries. Nothing in a
    sample can make this fail.

    Args:
        samples: Crystals and broken entries, in the order of the file.
        protocol: What to measure against.

    Raises:
        ValueError: If there are no samples, or reconstruction gets lists of unequal length.
    """
    if not samples:
        raise ValueError("there are no samples to evaluate")
    # CDVAE's validity asks for fingerprints; they cost something, so only where COV is wanted.
    prints = None
    if protocol.cutoffs and protocol.reference:
        prints = fingerprint_crystals(
            samples, num_workers=protocol.num_workers, progress=protocol.progress
        )
    table = describe(samples, protocol, prints)
    metrics = _validity_metrics(table, protocol)
    metrics |= _distribution_metrics(table, protocol)
    if prints is not None:
        metrics |= _coverage(prints, protocol)
    if "first" in table:
        metrics |= _set_metrics(table, protocol)
    if protocol.evaluator is not None:
        metrics |= _property_metrics(table, protocol)
    if protocol.task == "reconstruction":
        metrics |= _reconstruction_metrics(samples, table, protocol)
    return Evaluation(metrics, {key: definition(key) for key in metrics}, table)


def describe(
    samples: Sequence[Entry], protocol: Protocol, prints: Fingerprints | None
) -> pd.DataFrame:
    """Return the table with one row per entry."""
    work = partial(_row, space_groups=protocol.space_groups)
    rows = parallel_map(
        work, samples, num_workers=protocol.num_workers, progress=protocol.progress,
        label="validity",
    )  # fmt: skip
    table = pd.DataFrame(rows)
    table.insert(0, "index", range(len(table)))
    valid = table["struct_valid"] & table["comp_valid"]
    if prints is not None:
        lost = valid & ~prints.ok
        table.loc[lost, "reason"] = "no fingerprint"
        valid &= prints.ok
    table["valid"] = valid
    if protocol.evaluator is not None:
        table["predicted"] = protocol.evaluator.predict(samples, progress=protocol.progress)
    if protocol.uniqueness and protocol.task != "reconstruction":
        workers, progress = protocol.num_workers, protocol.progress
        flags = valid.to_numpy(dtype=bool)
        chosen = [c for c, ok in zip(samples, flags, strict=True) if ok and isinstance(c, Crystal)]
        first = first_occurrences(chosen, num_workers=workers, progress=progress)
        table["first"] = _spread(flags, first)
        if protocol.train:
            new = novel(chosen, protocol.train, num_workers=workers, progress=progress)
            table["novel"] = _spread(flags, new)
        if amd_distance.available():
            earlier = amd_distance.nearest_earlier(chosen, num_workers=workers, progress=progress)
            table["amd_earlier"] = _spread(flags, earlier)
        if amd_distance.available() and protocol.train:
            known = amd_distance.nearest_known(
                chosen, protocol.train, num_workers=workers, progress=progress
            )
            table["amd_train"] = _spread(flags, known)
    return table


def _spread(chosen: NDArray[np.bool_], values: NDArray) -> NDArray:
    """Put values of the chosen rows in their places; False or NaN elsewhere."""
    empty = False if values.dtype == bool else np.nan
    out = np.full(len(chosen), empty, dtype=values.dtype)
    out[chosen] = values
    return out


def _row(entry: Entry, space_groups: bool) -> dict[str, object]:
    problem = structural_problem(entry)
    row: dict[str, object] = {"formula": "", "num_atoms": 0, "space_group": 0}
    comp_valid = comp_valid_today = False
    row |= {"density": np.nan, "num_elements": np.nan, "volume": np.nan}
    if isinstance(entry, Crystal) and len(entry):
        comp_valid = smact_validity(entry.atomic_numbers)
        comp_valid_today = smact_validity(entry.atomic_numbers, "smact4")
        row |= {"num_atoms": len(entry), "num_elements": num_elements(entry)}
        row |= {"volume": entry.volume, "density": density(entry)}
        if problem is None:
            row["formula"] = reduced_formula(entry)
            row["space_group"] = space_group(entry) if space_groups else 0
    row |= {
        "struct_valid": problem is None,
        "comp_valid": comp_valid,
        "comp_valid_smact4": comp_valid_today,
        "reason": problem or ("" if comp_valid else "composition"),
    }
    return row


def _validity_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    keys = ("struct_valid", "comp_valid", "comp_valid_smact4", "valid")
    return {key: _mean(table[key], protocol) for key in keys}


def _set_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    valid = table[table["valid"]]
    out = {"uniqueness": _mean(valid["first"], protocol)}
    if "novel" in table:
        out["novelty"] = _mean(valid["novel"], protocol)
    for key, column in (("uniqueness_amd", "amd_earlier"), ("novelty_amd", "amd_train")):
        if column in valid:
            out[key] = _mean(valid[column] > amd_distance.SAME, protocol)
    return out


def _distribution_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    valid = table[table["valid"]]
    out: dict[str, Estimate] = {}
    if protocol.space_groups:
        out["p1_share"] = _mean(valid["space_group"] == 1, protocol)
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
    groups = parallel_map(
        space_group, protocol.reference, num_workers=protocol.num_workers,
        progress=protocol.progress, label="space groups",
    )  # fmt: skip
    values = valid["space_group"].to_numpy()
    out["spacegroup_tv"] = statistic_estimate(
        lambda chosen: total_variation(values[chosen], groups),
        len(values),
        protocol.num_bootstrap,
        protocol.seed,
    )
    return out


def _coverage(prints: Fingerprints, protocol: Protocol) -> dict[str, Estimate]:
    reference = fingerprint_crystals(
        protocol.reference,
        num_workers=protocol.num_workers,
        cache_dir=protocol.cache_dir,
        progress=protocol.progress,
    )
    return coverage_metrics(
        prints, reference, protocol.cutoffs, protocol.num_bootstrap, protocol.seed
    )


def _property_metrics(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    valid = table["valid"] & np.isfinite(table["predicted"])
    predicted = table["predicted"].to_numpy()
    out: dict[str, Estimate] = {}
    for p, limit in zip(PERCENTILES, protocol.success_thresholds() or (), strict=False):
        variants = [("", None)] + ([("_unique", table["first"])] if "first" in table else [])
        for suffix, first in variants:
            strict = strict_success(predicted, valid, limit, first)
            best = best_of_ten_success(predicted, valid, limit, first)
            out[f"sr{p}_strict{suffix}"] = _mean(strict, protocol)
            if len(best):
                out[f"sr{p}_best10{suffix}"] = _mean(best, protocol)
    if protocol.target is not None:
        out["target_mae"] = _mean(np.abs(predicted[valid] - protocol.target), protocol)
    if protocol.reference and protocol.task == "generation" and protocol.evaluator is not None:
        known = protocol.evaluator.predict(protocol.reference, progress=protocol.progress)
        out["property_emd"] = _emd(predicted[valid], known, protocol)
    return out


def _reconstruction_metrics(
    samples: Sequence[Entry], table: pd.DataFrame, protocol: Protocol
) -> dict[str, Estimate]:
    rms = rms_distances(
        samples,
        protocol.reference,
        valid=table["valid"].tolist(),
        num_workers=protocol.num_workers,
        progress=protocol.progress,
    )
    table["rms"] = rms
    matched = np.isfinite(rms)
    best = best_rms_distances(
        samples,
        protocol.reference,
        valid=table["valid"].tolist(),
        num_workers=protocol.num_workers,
        progress=protocol.progress,
    )
    return {
        "match_rate": _mean(matched, protocol),
        "rmse": _mean(rms[matched], protocol),
        "metre": _mean(np.isfinite(best), protocol),
        "crmse": _mean(np.nan_to_num(best, nan=_STOL), protocol),
    }


def _mean(values: pd.Series | NDArray, protocol: Protocol) -> Estimate:
    return mean_estimate(np.asarray(values, dtype=float), protocol.num_bootstrap, protocol.seed)


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
