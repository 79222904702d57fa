"""A peer method: one YAML file each in ``configs/baselines/``.

A file gives the published numbers with their source, the names of the sample files that the
peer's code writes, and, where its checkout can be trained and sampled here, the function that
does it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyg_crysdiff.configuration import config_folder, load_table
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.readers import read_crystals
from pyg_crysdiff.evaluation.definitions import definition
from pyg_crysdiff.evaluation.results import Estimate, Row
from pyg_crysdiff.evaluation.success import CANDIDATES
from pyg_crysdiff.storage import user_path

TASKS = ("optimisation", "reconstruction", "generation")
PUBLISHED_TASKS = (*TASKS, "prediction")


@dataclass(frozen=True)
class LiveCode:
    """How a checkout is recognised and run.

    Attributes:
        marker: A file of the checkout, relative to its root.
        runner: Dotted name of the function that trains and samples it.
        configs: Our data set name to the peer's own configuration; ``own`` for all others.
    """

    marker: str
    runner: str
    configs: Mapping[str, str]


@dataclass(frozen=True)
class Baseline:
    """One peer.

    Attributes:
        name: Name of the YAML file.
        title: Name in tables.
        year: Year of publication.
        paper: Paper.
        code: Repository.
        outputs: Task to patterns of the files that its scripts write.
        starts: Starts of its property optimisation, of which its sample file holds ten or more
            candidates each; None where it makes independent samples.
        published: Published numbers.
        live: How to run a checkout; None where that is not possible.
    """

    name: str
    title: str
    year: int
    paper: str
    code: str
    outputs: Mapping[str, Sequence[str]]
    starts: int | None = None
    published: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    live: LiveCode | None = None

    def rows(self, dataset: str, task: str) -> list[Row]:
        """Return the published rows for a data set, each with its source."""
        out = []
        for entry in self.published:
            if entry["task"] != task or dataset not in entry:
                continue
            metrics = {key: Estimate(float(v)) for key, v in entry[dataset].items()}
            for key in metrics:
                definition(key)
            out.append(Row(entry.get("method", self.title), "published", entry["source"], metrics))
        return out

    def is_checkout(self, path: str | Path) -> bool:
        """Return whether a folder is a checkout that can be run live."""
        return self.live is not None and (Path(path) / self.live.marker).is_file()

    def find_samples(self, path: str | Path, task: str) -> Path:
        """Return the sample file: ``path`` itself, or the newest one in an output folder.

        Args:
            path: A file, or the folder into which the peer's scripts wrote.
            task: ``optimisation``, ``reconstruction`` or ``generation``.

        Raises:
            FileNotFoundError: If there is none.
        """
        path = user_path(path)
        if path.is_file():
            return path
        patterns = self.outputs.get(task, ())
        for pattern in patterns:
            found = sorted(path.glob(pattern), key=lambda f: f.stat().st_mtime)
            if found:
                return found[-1]
        expected = " or ".join(patterns) or f"a file ({self.title} names none of its own)"
        marker = "" if self.live is None else f", or a checkout (with {self.live.marker})"
        raise FileNotFoundError(f"{path}: no {task} samples of {self.title}: {expected}{marker}")

    def starts_of(self, num_samples: int) -> int | None:
        """Return the starts of an optimisation file, for its best-of-ten rates.

        Args:
            num_samples: Entries of the file. None is returned where the peer has no starts, or a
                start would have fewer than ten candidates.
        """
        enough = self.starts is not None and num_samples >= CANDIDATES * self.starts
        return self.starts if enough else None

    def read(self, path: str | Path, task: str = "generation") -> list[Crystal | BrokenEntry]:
        """Read the samples that the peer wrote; see :func:`read_crystals`."""
        return read_crystals(self.find_samples(path, task))


def baseline_names() -> list[str]:
    """Return the names of all baselines, oldest method first."""
    return [baseline.name for baseline in _all_baselines()]


def _all_baselines() -> list[Baseline]:
    files = sorted((config_folder() / "baselines").glob("*.yaml"))
    return sorted((load_baseline(f.stem) for f in files), key=lambda b: b.year)


def load_baseline(name: str) -> Baseline:
    """Return a baseline by the name of its YAML file.

    Raises:
        ValueError: If there is none of that name.
    """
    folder = config_folder() / "baselines"
    if not (folder / f"{name}.yaml").is_file():
        known = ", ".join(sorted(f.stem for f in folder.glob("*.yaml")))
        raise ValueError(f"no baseline is called {name!r}; there are {known}")
    table = load_table(f"baselines/{name}.yaml")
    live = LiveCode(**table.pop("live")) if "live" in table else None
    return Baseline(name=name, live=live, **table)


def published_rows(dataset: str, task: str) -> list[Row]:
    """Return the published rows of all baselines for a data set, oldest method first.

    Args:
        dataset: Name in the registry of data sets; others have no published rows.
        task: ``optimisation``, ``reconstruction``, ``generation`` or ``prediction`` (structures of
            given compositions).

    Raises:
        ValueError: If there is no such task.
    """
    if task not in PUBLISHED_TASKS:
        raise ValueError(f"task must be one of {PUBLISHED_TASKS}, got {task!r}")
    return [row for baseline in _all_baselines() for row in baseline.rows(dataset, task)]
