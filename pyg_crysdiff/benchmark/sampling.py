"""Samples of a benchmark run, drawn into the run's folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.models import LoadedModel
from pyg_crysdiff.sampling import Control, sample
from pyg_crysdiff.sampling.request import Target
from pyg_crysdiff.storage import read_json, whole, write_json

SECONDS = "seconds.json"


def sizes(settings: Settings, target: Target) -> Any:
    """Return the rule for the numbers of atoms."""
    return "distribution" if target is None else settings.num_atoms


def draw(
    settings: Settings, name: str, model: LoadedModel, target: Target, progress: bool
) -> tuple[list[Crystal], dict[str, Any]]:
    """Sample ``settings.num_samples`` crystals, or read what an earlier run left.

    Args:
        settings: Sampler, seed, device, output folder.
        name: Name of the row, which names the folder too.
        model: The generator.
        target: As in :func:`pyg_crysdiff.sampling.sample`.
        progress: Show a progress bar.

    Returns:
        The crystals; what they were drawn with: target, guidance, constraints, rule for the
        sizes, seed, the sampler's values and, where they came in one go, its seconds.
    """
    # A model that generates the number of atoms has steps of its own.
    sampler = settings.sampler if model.model.takes_sizes else settings.structrepdiff_sampler
    control = Control()
    if target is not None:
        control = Control(
            charge_neutral=settings.charge_neutral, num_elements=settings.num_elements
        )
    folder = settings.out / "samples" / file_stem(name)
    clock = _Clock(folder)
    crystals = sample(
        model,
        settings.num_samples,
        target=target,
        num_atoms=sizes(settings, target),
        control=control or None,
        seed=settings.seed,
        guidance=settings.guidance,
        sampler=sampler,
        device=settings.device,
        out=folder,
        progress=progress,
    )
    details = {
        "target": target,
        "guidance": settings.guidance if target is not None else None,
        "constraints": control.describe(),
        **sampler.to_dict(),
        "num_atoms": sizes(settings, target) if model.model.takes_sizes else "generated",
        "seed": settings.seed,
    }
    return crystals, {**details, **clock.stop()}


class _Clock:
    """Wall time of sampling into a folder; silent where part of it came from an interrupted run."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / SECONDS
        self._fresh = not folder.exists()
        self._start = time.perf_counter()

    def stop(self) -> dict[str, float]:
        """Return what is known, and keep it for the next run with the same samples."""
        if self._fresh:
            write_json(self._file, round(time.perf_counter() - self._start, 1))
        seconds = whole(self._file, lambda path: float(read_json(path)))
        return {} if seconds is None else {"sampling_seconds": seconds}
