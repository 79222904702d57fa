"""GenBench's families as metrics, with intervals where resampling crystals gives one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.genbench import diversity, fingerprint
from pyg_crysdiff.evaluation.genbench.distribution import (
    Profile,
    frechet_distance,
    jensen_shannon_distance,
    mean_discrepancy,
)
from pyg_crysdiff.evaluation.genbench.rows import Entry, genbench_columns, tight_groups
from pyg_crysdiff.evaluation.genbench.settings import GenBench
from pyg_crysdiff.evaluation.genbench.tables import MOST_ELEMENTS
from pyg_crysdiff.evaluation.protocol import Protocol
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.statistics import mean_of, statistic_estimate

if TYPE_CHECKING:
    from pyg_crysdiff.evaluation.fingerprints import Fingerprints

_SPACE_GROUPS = 230
_MOST_COMPARED = 15_000  # crystals per set in MMD, as in the original


def genbench_metrics(
    entries: Sequence[Entry],
    reference: Sequence[Crystal] = (),
    *,
    train: Sequence[Crystal] = (),
    settings: GenBench | None = None,
    embeddings: tuple[ArrayLike, ArrayLike] | None = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
    num_workers: int | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> dict[str, Estimate]:
    """Return GenBench's families that need no gated data.

    Source: LeMat-GenBench (arXiv 2512.04562). ``pyg_crysdiff.evaluation.definitions.definition``
    tells what each key means.

    Args:
        entries: Crystals and broken entries, in the order of the file.
        reference: Crystals whose distributions are compared; without them that family is missing.
        train: Known crystals for novelty by fingerprint.
        settings: Whose element data, and which crystals; None for the defaults.
        embeddings: Embeddings (N, D) of generated and (M, D) of reference crystals, of any model,
            for the Fréchet distance.
        num_bootstrap: Resamples; 0 for no intervals.
        seed: Seed of the bootstrap.
        num_workers: Processes; None for all cores.
        cache_dir: Folder for the space groups of the reference; None for no cache.
        progress: Show progress.

    Raises:
        FileNotFoundError: If a file of the checkout in the settings is missing.
        ImportError: If the fingerprint is asked for and its package is missing.
    """
    settings = settings or GenBench()
    protocol = Protocol(
        reference=reference, train=train, genbench=settings, num_bootstrap=num_bootstrap,
        seed=seed, num_workers=num_workers, cache_dir=cache_dir, progress=progress,
    )  # fmt: skip
    table = genbench_columns(entries, settings, num_workers=num_workers, progress=progress)
    out = families(entries, table, protocol)
    if embeddings is not None:
        out["frechet_embeddings"] = Estimate(frechet_distance(*embeddings))
    return out


def families(
    entries: Sequence[Entry],
    table: pd.DataFrame,
    protocol: Protocol,
    prints: Fingerprints | None = None,
) -> dict[str, Estimate]:
    """Return all families from a table that holds GenBench's columns.

    Args:
        entries: Crystals and broken entries.
        table: One row per entry.
        protocol: Reference, training set, intervals.
        prints: Fingerprints of the entries, for their Fréchet distance to the reference.
    """
    assert protocol.genbench is not None
    out = _validity(table, protocol)
    flags = table["genbench_valid"] if protocol.genbench.only_valid else _readable(table)
    chosen = flags.to_numpy(dtype=bool)
    pairs = zip(entries, chosen, strict=True)
    crystals = [c for c, ok in pairs if ok and isinstance(c, Crystal)]
    rows = table[chosen]
    groups = rows["space_group_tight"].to_numpy(dtype=np.int64)
    for key in ("hhi_production", "hhi_reserve"):
        out[key] = mean_of(rows[key], protocol, proportion=False)
    out |= _diversity(crystals, groups, protocol)
    if protocol.reference:
        out |= _distribution(Profile.of(crystals, groups), protocol)
    if protocol.reference and prints is not None:
        out |= _frechet(prints, chosen, protocol)
    return out | _fingerprints(crystals, protocol)


def _validity(table: pd.DataFrame, protocol: Protocol) -> dict[str, Estimate]:
    charge = next(key for key in ("charge_neutral", "charge_neutral_icsd") if key in table)
    keys = (charge, "min_distance_ok", "plausible", "genbench_valid")
    return {key: mean_of(table[key], protocol) for key in keys}


def _readable(table: pd.DataFrame) -> pd.Series:
    return table["hhi_production"].notna()


def _diversity(
    crystals: Sequence[Crystal], groups: NDArray[np.int64], protocol: Protocol
) -> dict[str, Estimate]:
    """Entropies and Vendi scores over elements, space groups, sizes and physical quantities."""
    atoms, found = diversity.element_counts(crystals), groups[groups > 0]
    sizes = np.array([len(c) for c in crystals], dtype=np.int64)
    out = {
        **_spread("elements", atoms, protocol),
        "coverage_elements": Estimate(_filled(atoms.sum(0)) / MOST_ELEMENTS),
        **_spread("space_groups", _one_hot(found), protocol),
        "coverage_space_groups": Estimate(len(set(found.tolist())) / _SPACE_GROUPS),
        "mean_symmetry": mean_of(groups / _SPACE_GROUPS, protocol, proportion=False),
        **_spread("sizes", _one_hot(sizes), protocol),
        "mean_num_atoms": mean_of(sizes, protocol, proportion=False),
    }
    entropies = []
    for name, bins in diversity.physical_bins(crystals).items():
        labels = _one_hot(bins)
        out[f"entropy_{name}"] = _statistic(diversity.shannon_entropy, labels, protocol)
        out[f"unevenness_{name}"] = Estimate(diversity.unevenness(labels.sum(0)))
        entropies.append(out[f"entropy_{name}"].value)
    most = math.log2(len(crystals)) if len(crystals) > 1 else math.nan
    out["entropy_physical"] = Estimate(float(np.mean(entropies)) / most)
    out["mean_box_volume"] = Estimate(diversity.mean_box(crystals))
    return out


def _spread(name: str, labels: NDArray[np.int64], protocol: Protocol) -> dict[str, Estimate]:
    """Entropy and Vendi score of the labels (M, K) of crystals."""
    entropy = _statistic(diversity.shannon_entropy, labels, protocol)
    ends = [None if x is None else math.exp(x) for x in (entropy.low, entropy.high)]
    return {
        f"entropy_{name}": entropy,
        f"vendi_{name}": Estimate(math.exp(entropy.value), *ends),
    }


def _distribution(found: Profile, protocol: Protocol) -> dict[str, Estimate]:
    """Jensen-Shannon distances of labels and discrepancies of quantities to the reference."""
    groups = tight_groups(
        protocol.reference,
        num_workers=protocol.num_workers,
        cache_dir=protocol.cache_dir,
        progress=protocol.progress,
    )
    known = Profile.of(protocol.reference, groups)
    out: dict[str, Estimate] = {}
    labels = known.label_counts()
    for name, counts in found.label_counts().items():
        distance = partial(jensen_shannon_distance, reference=labels[name].sum(0))
        out[f"jsd_{name}"] = _statistic(distance, counts, protocol)
    out["jsd_mean"] = _average(out)
    quantities = known.quantities()
    discrepancies = {
        f"mmd_{name}": Estimate(mean_discrepancy(_thinned(values), _thinned(quantities[name])))
        for name, values in found.quantities().items()
    }
    return out | discrepancies | {"mmd_mean": _average(discrepancies)}


def _frechet(
    prints: Fingerprints, chosen: NDArray[np.bool_], protocol: Protocol
) -> dict[str, Estimate]:
    """Fréchet distances of CDVAE's fingerprints, which need no potential."""
    from pyg_crysdiff.evaluation.fingerprints import fingerprint_crystals  # noqa: PLC0415

    known = fingerprint_crystals(
        protocol.reference,
        num_workers=protocol.num_workers,
        cache_dir=protocol.cache_dir,
        progress=protocol.progress,
    )
    mine = chosen & prints.ok
    return {
        f"frechet_{name}": Estimate(frechet_distance(a[mine], b[known.ok]))
        for name, a, b in (
            ("structure", prints.structure, known.structure),
            ("composition", prints.composition, known.composition),
        )
    }


def _fingerprints(crystals: Sequence[Crystal], protocol: Protocol) -> dict[str, Estimate]:
    """Uniqueness and novelty by BAWL, of the crystals that have a fingerprint."""
    assert protocol.genbench is not None
    wanted = protocol.genbench.bawl
    if wanted is False or (wanted is None and not fingerprint.available()):
        return {}
    options: dict[str, Any] = {"num_workers": protocol.num_workers, "progress": protocol.progress}
    train = fingerprint.rivals(crystals, protocol.train)
    try:
        prints = fingerprint.bawl_fingerprints([*crystals, *train], **options)
    except RuntimeError as error:  # no sample may stop an evaluation
        warnings.warn(f"{error}; uniqueness and novelty by BAWL are left out", stacklevel=2)
        return {}
    found, known = prints[: len(crystals)], prints[len(crystals) :]
    values = {"uniqueness_bawl": fingerprint.first_of_kind(found)}
    if protocol.train:
        values["novelty_bawl"] = fingerprint.unknown(found, known)
    return {key: mean_of(x[np.isfinite(x)], protocol) for key, x in values.items()}


def _one_hot(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (M, K) with a 1 in the column of each label, of the labels that occur."""
    known, which = np.unique(labels, return_inverse=True)
    return np.eye(len(known), dtype=np.int64)[which]


def _filled(counts: NDArray[np.int64]) -> int:
    return int(np.count_nonzero(counts))


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most 15,000 values, spread evenly over all."""
    count = len(values)
    if count <= _MOST_COMPARED:
        return values
    return values[np.arange(_MOST_COMPARED) * count // _MOST_COMPARED]


def _average(estimates: dict[str, Estimate]) -> Estimate:
    return Estimate(float(np.mean([x.value for x in estimates.values()])))


def _statistic(
    of_counts: Callable[[NDArray[np.float64]], float], labels: NDArray[np.int64], protocol: Protocol
) -> Estimate:
    """Statistic of the summed labels (M, K) of crystals, which are resampled."""
    numbers = labels.astype(np.float64)  # products of floats are much faster
    return statistic_estimate(
        lambda chosen: of_counts(np.bincount(chosen, minlength=len(numbers)) @ numbers),
        len(numbers),
        protocol.num_bootstrap,
        protocol.seed,
    )
