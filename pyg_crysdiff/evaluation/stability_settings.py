"""How stability is judged: potentials, their relaxations, their hulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyg_crysdiff.relaxation import Judge, RelaxSettings, find_judge
from pyg_crysdiff.storage import file_digest

OWN = "energies"  # the name of energies that the user gives, among the judges


@dataclass(frozen=True)
class Stability:
    """How stability is judged.

    Attributes:
        hull: Hull file of the only judge, or name of each judge to its hull file. A judge without
            one is given its energies of the reference and training crystals as they are, which
            favours the samples.
        stable_at: Largest energy above the hull of a crystal that counts for ``stable`` and
            ``sun``, eV/atom.
        steps: Most relaxation steps.
        fmax: Largest force at which relaxation ends, eV/A.
        cache_dir: Folder in which finished relaxations and energies are kept; None for nowhere.
        num_workers: Processes; None for all cores.
        judges: Names of potentials (:func:`pyg_crysdiff.relaxation.find_judge`); None for CHGNet,
            or for none where ``energies`` is given.
        smax: Largest stress at which relaxation ends, GPa.
        cell: Relax the cell too.
        device: Device of the potentials.
        energies: File with energies of the samples as they are
            (:func:`pyg_crysdiff.relaxation.read_energies`); in ``hull`` they are the judge
            ``energies``.
        scheme: Energy correction scheme of that file, where it does not say.

    Raises:
        ModuleNotFoundError: If the package of a judge is not installed.
        ValueError: If a judge is unknown or given twice, or the hulls do not fit the judges.
    """

    hull: Path | Mapping[str, Path] | None = None
    stable_at: float = 0.1
    steps: int = 500
    fmax: float = 0.05
    cache_dir: Path | None = None
    num_workers: int | None = None
    judges: Sequence[str | Judge] | None = None
    smax: float = 0.4
    cell: bool = True
    device: str = "cpu"
    energies: Path | None = None
    scheme: str = ""

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) < len(names):
            raise ValueError(f"a judge is given twice: {', '.join(names)}")
        if isinstance(self.hull, Mapping):
            if unknown := sorted(set(self.hull) - set(names)):
                raise ValueError(
                    f"a hull for {', '.join(unknown)}, and the judges are {', '.join(names)}"
                )
        elif self.hull is not None and len(names) > 1:
            raise ValueError(
                f"{self.hull}: whose hull is it? Name a hull for each of {', '.join(names)}"
            )
        if OWN in names and self.hull_of(OWN) is None:
            raise ValueError(
                "energies of one's own need a hull on the same scale: a hull file, or a list of "
                "pymatgen entries"
            )

    @property
    def potentials(self) -> list[Judge]:
        """The judges that are potentials."""
        asked = self.judges
        if asked is None:
            asked = () if self.energies is not None else ("chgnet",)
        return [find_judge(name) for name in asked]

    @property
    def names(self) -> list[str]:
        """The names of all judges, in order."""
        return [judge.name for judge in self.potentials] + [OWN] * (self.energies is not None)

    @property
    def settings(self) -> RelaxSettings:
        """When a relaxation ends."""
        return RelaxSettings(self.steps, self.fmax, self.smax, self.cell)

    def hull_of(self, name: str) -> Path | None:
        """Return the hull file of a judge; None where it has none."""
        return self.hull.get(name) if isinstance(self.hull, Mapping) else self.hull

    def running(self, progress: bool) -> dict[str, Any]:
        """Return how relaxations are run."""
        return {
            "cache_dir": self.cache_dir,
            "num_workers": self.num_workers,
            "device": self.device,
            "progress": progress,
        }

    def identity(self) -> dict[str, Any]:
        """Return what decides the result, as plain values."""
        files = {name: self.hull_of(name) for name in self.names}
        return {
            "judges": [judge.identity for judge in self.potentials],
            "settings": self.settings.key,
            "hulls": {name: file and file_digest(file) for name, file in files.items()},
            "stable_at": self.stable_at,
            "energies": self.energies and file_digest(self.energies),
            "scheme": self.scheme,
        }
