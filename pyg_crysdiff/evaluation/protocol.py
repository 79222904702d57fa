"""What samples are measured against, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.evaluation.predictor import PropertyPredictor
from pyg_crysdiff.evaluation.success import PERCENTILES, percentile_thresholds
from pyg_crysdiff.known.database import Database

if TYPE_CHECKING:
    import pandas as pd

    from pyg_crysdiff.evaluation.genbench.settings import GenBench
    from pyg_crysdiff.evaluation.results import Estimate
    from pyg_crysdiff.evaluation.stability_settings import Stability

TASKS = ("generation", "reconstruction", "optimisation")
VALIDITIES = ("cdvae", "structure")
Entry = Crystal | BrokenEntry


@dataclass(frozen=True)
class Protocol:
    """What samples are measured against; shared by all methods of one table.

    Attributes:
        task: ``generation``, ``reconstruction`` or ``optimisation``.
        reference: Crystals for EMD, COV and, one by one, reconstruction.
        train: Training crystals, for novelty (and percentiles).
        evaluator: Property evaluator; anything with ``property_name`` and ``predict``
            (:class:`pyg_crysdiff.evaluation.PropertyPredictor`).
        target: Requested property value.
        thresholds: Limits of SR5, SR10, SR15; None for percentiles of the training set.
        stability: Relax the samples and compare with a convex hull; None for neither.
        num_starts: Starts of an optimisation that made the samples, candidate-major; the
            best-of-ten rates are computed. None where the samples are independent draws.
        space_groups: Find the space group of every crystal.
        uniqueness: Compare the samples with each other, with the training set and the database.
        uniqueness_of: Compare this many valid crystals with each other, from the first on; None
            for all. Unique success rates need all.
        novelty_of: Compare this many valid crystals with the training set and the database, spread
            evenly over all, which may stand in an order; None for all. Where one composition has
            thousands of structures each takes seconds.
        cutoffs: Family name to (structure, composition) cut-offs of COV; the first is the main one.
        seed: Seed of the bootstrap.
        num_bootstrap: Resamples; 0 for no intervals.
        num_workers: Processes; None for all cores.
        cache_dir: Folder for fingerprints, space groups and predicted values of the reference set;
            None for no cache.
        progress: Show progress.
        lookup: Known crystals that carry the property in ``info``, by part of their data set
            (``train``, ``val``, ``test``): the value of the one that a sample matches stands
            beside the predicted one. Empty for no look-up.
        lookup_property: Name of that property; None for the evaluator's.
        interval: Least and largest value of the property that is on target, for the rates of
            stable, unique, novel crystals on target; None for at or below the limit of SR5.
        database: File of known crystals (``crysdiff index`` makes it), for novelty against all of
            them; None for none.
        prototypes: Compare the valid crystals whatever their elements are too, with each other and
            with the database, or else with the training set; see
            :mod:`pyg_crysdiff.known.prototypes`. This takes ten to a hundred times as long.
        genbench: Measure the families of LeMat-GenBench, too; None for not.
        validity: What a valid crystal is: ``cdvae`` asks for a valid structure and for charge
            neutrality by SMACT; ``structure`` for the structure alone, as most papers on stability
            do. All that counts valid crystals counts these.
    """

    task: str = "generation"
    reference: Sequence[Crystal] = ()
    train: Sequence[Crystal] = ()
    evaluator: PropertyPredictor | None = None
    target: float | None = None
    thresholds: tuple[float, float, float] | None = None
    stability: Stability | None = None
    num_starts: int | None = None
    space_groups: bool = True
    uniqueness: bool = True
    uniqueness_of: int | None = None
    novelty_of: int | None = None
    cutoffs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seed: int = 0
    num_bootstrap: int = 1000
    num_workers: int | None = None
    cache_dir: Path | None = None
    progress: bool = True
    lookup: Mapping[str, Sequence[Crystal]] = field(default_factory=dict)
    lookup_property: str | None = None
    interval: tuple[float, float] | None = None
    database: Path | None = None
    prototypes: bool = False
    genbench: GenBench | None = None
    validity: str = "cdvae"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {TASKS}, got {self.task!r}")
        if self.validity not in VALIDITIES:
            raise ValueError(f"validity must be one of {VALIDITIES}, got {self.validity!r}")
        if self.task == "optimisation" and self.evaluator is None:
            raise ValueError("the optimisation task needs a property evaluator")
        if self.task == "reconstruction" and not self.reference:
            raise ValueError("the reconstruction task needs reference crystals")
        if self.interval is not None and not self.interval[0] <= self.interval[1]:
            raise ValueError(f"the interval of the target is empty: {self.interval}")
        if self.lookup:
            self._check_lookup()
        if self.database is not None:  # opened now, so that a wrong file is refused before all work
            object.__setattr__(self, "database", Database(self.database).path)

    def _check_lookup(self) -> None:
        name = self.lookup_name()
        if name is None:
            raise ValueError("a look-up needs the name of a property, or a property evaluator")
        if self.evaluator is not None and self.evaluator.property_name != name:
            raise ValueError(
                f"the evaluator predicts {self.evaluator.property_name!r}, and {name!r} is to be "
                "looked up: take one property for both"
            )
        if not any(name in crystal.info for part in self.lookup.values() for crystal in part):
            raise ValueError(f"no known crystal of the look-up has a value of {name!r}")

    def lookup_name(self) -> str | None:
        """Return the property that is looked up, or predicted; None where there is neither."""
        if self.lookup_property is not None or self.evaluator is None:
            return self.lookup_property
        return self.evaluator.property_name

    def success_thresholds(self) -> tuple[float, float, float] | None:
        """Return the limits of SR5, SR10 and SR15, or None where nothing fixes them."""
        name = self.lookup_name()
        if self.thresholds is not None or name is None or not self.train:
            return self.thresholds
        values = [c.info[name] for c in with_value(self.train, name)]
        return percentile_thresholds(values) if values else None

    def named_thresholds(self) -> dict[str, float]:
        """Return the limits as ``sr5``, ``sr10``, ``sr15``; empty where nothing fixes them."""
        limits = self.success_thresholds()
        return {f"sr{p}": x for p, x in zip(PERCENTILES, limits or (), strict=False)}


@dataclass(frozen=True)
class Evaluation:
    """Result of :func:`evaluate`.

    Attributes:
        metrics: Metric key to value with 95 % interval.
        definitions: The meaning of each key.
        table: One row per entry.
        facts: Where stability was judged: ``judges`` (each with its settings, its hull and how
            many crystals it left open) and ``warnings``, lines on what is implausible.
        relaxed: Judge to the relaxed crystal of every entry, None where there is none; empty for
            an evaluation that was read from disk, beside which they lie in a file.
    """

    metrics: dict[str, Estimate]
    definitions: dict[str, str]
    table: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)
    relaxed: dict[str, list[Crystal | None]] = field(default_factory=dict)
