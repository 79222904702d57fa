"""Settings of the leaderboard of stable, unique and novel crystals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyg_crysdiff.relaxation import Judge, RelaxSettings, find_judge

PICKS = ("first", "random")


@dataclass(frozen=True)
class SunSettings:
    """What the leaderboard asks beside the settings of every benchmark.

    Attributes:
        judges: Potentials.
        hulls: Name of a judge to its hull file; one without is given a hull of the data set's
            crystals in the systems of the samples.
        relax: When a relaxation ends, of samples and hulls alike.
        lowest: Of each composition only so many known crystals for a hull that is made here; None
            for all.
        pick: ``first`` crystals of each sample file, or a ``random`` draw by the seed.
        interval: Values of the property that are on target; None for the limit of SR5.
        database: File of known crystals (``crysdiff index``) that novel ones must not match; None
            for the training set.
        validity: Which crystals are relaxed and count: ``structure`` all with a valid structure, as
            most papers do; ``cdvae`` those that are charge-neutral by SMACT too.
        shard: Relax part k of n of all samples and known crystals, and end; None for all.
        cache_dir: Folder of finished relaxations.
        num_workers: Processes; None for all cores.
        device: Device of the potentials.

    Raises:
        ModuleNotFoundError: If the package of a judge is not installed.
        ValueError: If a judge is unknown, or a hull belongs to none.
    """

    judges: tuple[str | Judge, ...] = ("chgnet", "sevennet")
    hulls: Mapping[str, Path] = field(default_factory=dict)
    relax: RelaxSettings = field(default_factory=RelaxSettings)
    lowest: int | None = None
    pick: str = "first"
    interval: tuple[float, float] | None = None
    database: Path | None = None
    validity: str = "structure"
    shard: tuple[int, int] | None = None
    cache_dir: Path | None = None
    num_workers: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        names = [judge.name for judge in self.potentials]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"name one judge or several, each once; got {', '.join(names)!r}")
        if unknown := sorted(set(self.hulls) - set(names)):
            raise ValueError(
                f"a hull for {', '.join(unknown)}, and the judges are {', '.join(names)}"
            )
        if self.pick not in PICKS:
            raise ValueError(f"pick must be one of {PICKS}, got {self.pick!r}")
        if self.shard is not None and self.cache_dir is None:
            raise ValueError("a shard needs a folder in which its relaxations are kept")

    @property
    def potentials(self) -> list[Judge]:
        """The judges."""
        return [find_judge(name) for name in self.judges]

    def running(self, progress: bool) -> dict[str, Any]:
        """Return how relaxations are run."""
        return {
            "cache_dir": self.cache_dir,
            "num_workers": self.num_workers,
            "device": self.device,
            "progress": progress,
        }
