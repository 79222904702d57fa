"""What a benchmark measured, in the form in which ``results.json`` stores it."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pyg_crysdiff
from pyg_crysdiff.evaluation.definitions import definition
from pyg_crysdiff.storage import read_json, write_json

# Values depend on them: verdicts of validity and matching, fingerprints, space groups.
_PACKAGES = ("torch", "numpy", "pymatgen", "matminer", "smact", "spglib")


@dataclass(frozen=True)
class Estimate:
    """A metric with its bootstrap interval.

    Attributes:
        value: Point estimate over all samples.
        low: Lower end of the 95 % interval, ``None`` where there is none (published values).
        high: Upper end of the 95 % interval.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One method in the comparison table.

    Attributes:
        method: Name shown in the table.
        kind: ``measured`` in this run, or ``published`` (copied from a paper; split,
            evaluator and protocol may differ).
        source: Paper with table for published rows; checkpoint, command or file for measured ones.
        metrics: Metric key to estimate. Keys: ``struct_valid comp_valid valid sr5_all sr5_strict
            sr5_unique sr5_best10`` (and of 10 and 15 %) ``uniqueness novelty
            density_emd num_elements_emd cov_recall cov_precision amsd_recall amsd_precision
            match_rate rmse`` and others that carry their own definition. Rates are fractions.
        details: Anything else worth keeping: parameter count, wall times in seconds, number
            of samples, target, sampler settings, checkpoint hash. The settings of a sampled row
            are ``request guidance constraints solver steps corrector_steps spacing num_atoms``;
            ``num_starts`` where its crystals are candidates of that many starts.
    """

    method: str
    kind: Literal["measured", "published"]
    source: str
    metrics: dict[str, Estimate]
    details: dict[str, Any] = field(default_factory=dict)

    def shown(self) -> dict[str, Estimate]:
        """Return the metrics that belong in a table.

        Best of ten is left out where the samples are no candidates of starts; version 0.1
        wrote it for independent draws as well.
        """
        if self.kind == "published" or "num_starts" in self.details:
            return self.metrics
        return {key: value for key, value in self.metrics.items() if "_best10" not in key}


@dataclass
class Results:
    """All rows of one benchmark run and what is needed to repeat it.

    Attributes:
        dataset: Name of the data set as shown to people.
        split: ``official``, ``val-as-train`` or a description of a user's own split.
        seed: Seed of the run.
        task: ``generation``, ``reconstruction`` or ``optimisation``.
        rows: Measured and published rows.
        definitions: Metric key to its definition and source, for every key in ``rows``.
        settings: Command line, property, target, thresholds, evaluator with its held-out MAE,
            versions of Python and of the packages on which values depend, wall times.
    """

    dataset: str
    split: str
    seed: int
    task: str = "optimisation"
    rows: list[Row] = field(default_factory=list)
    definitions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        rows: Sequence[Row],
        *,
        dataset: str,
        split: str,
        seed: int,
        task: str,
        settings: Mapping[str, Any],
    ) -> Results:
        """Put rows together with the definition of every metric, the command and the versions.

        Args:
            rows: Measured and published rows.
            dataset: See :class:`Results`.
            split: See :class:`Results`.
            seed: See :class:`Results`.
            task: See :class:`Results`.
            settings: What else is needed to repeat the run.

        Raises:
            KeyError: If a metric has no definition.
        """
        keys = dict.fromkeys(key for row in rows for key in row.metrics)
        known = {
            "command": " ".join(sys.argv),
            "version": pyg_crysdiff.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        }
        definitions = {key: definition(key) for key in keys}
        return cls(dataset, split, seed, task, list(rows), definitions, {**settings, **known})

    def save(self, path: str | Path) -> None:
        """Write the results as JSON; NaN and infinities become ``null``."""
        write_json(path, _finite(asdict(self)))

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else; the message names it.
        """
        raw = read_json(path)
        try:
            rows = [
                Row(**{**row, "metrics": _today(row["metrics"], _estimate)})
                for row in raw.pop("rows")
            ]
            raw["definitions"] = _today(raw.get("definitions", {}), str)
            return cls(rows=rows, **raw)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"{path} holds no results of a benchmark ({error})") from error


def _today(values: Mapping[str, Any], read: Callable[[Any], Any]) -> dict[str, Any]:
    """Read values by metric key, with the keys of version 0.1 under the names of today."""
    return {key.replace("_strict_unique", "_unique"): read(x) for key, x in values.items()}


def _estimate(raw: dict[str, float | None]) -> Estimate:
    value = raw["value"]
    return Estimate(math.nan if value is None else value, raw["low"], raw["high"])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
