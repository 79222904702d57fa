"""The sample sets of the leaderboard: files of any model, and what our models draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pyg_crysdiff.benchmark.asks import UNCONDITIONAL, Ask, asks
from pyg_crysdiff.benchmark.generators import generators
from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.benchmark.sampling import draw
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.benchmark.sun_settings import SunSettings
from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.data.readers import read_and_tell
from pyg_crysdiff.models import LoadedModel

Say = Callable[[str], None]


@dataclass(frozen=True)
class SampleSet:
    """The crystals of one row.

    Attributes:
        name: Name of the row.
        entries: Its crystals.
        source: File, or ``this run``.
        details: Which of the file's crystals they are, or how they were drawn.
    """

    name: str
    entries: list[Crystal | BrokenEntry]
    source: str
    details: dict[str, Any] = field(default_factory=dict)


def sample_sets(
    settings: Settings, sun: SunSettings, data: Splits, say: Say, progress: bool
) -> Iterator[SampleSet]:
    """Yield the sample files, then what each model draws, without and with a condition.

    Raises:
        ValueError: If a shard is asked for and the crystals of a model are not drawn yet: several
            jobs must not draw the same ones.
    """
    for name, path in settings.samples:
        entries = read_and_tell(path, say)
        chosen, words = picked(entries, settings.num_samples, sun.pick, settings.seed)
        yield SampleSet(name, chosen, str(path), {"picked": words, "in_file": len(entries)})
    for label, model, facts in generators(settings, data, say, progress):
        for ask in _asks(settings, data, model):
            name = ask.name(label)
            folder = settings.out / "samples" / file_stem(name)
            if sun.shard is not None and not (folder / "samples.pt").is_file():
                raise ValueError(
                    f"{name}: nothing is drawn in {folder} yet; run the command once with "
                    "--sample-only, then the shards"
                )
            say(f"{name}: {ask.settings.num_samples} crystals")
            crystals, sampled = draw(ask.settings, name, model, ask.target, progress)
            details = {**facts, "checkpoint": model.digest, "request": ask.request, **sampled}
            yield SampleSet(name, list(crystals), "this run", details)


def _asks(settings: Settings, data: Splits, model: LoadedModel) -> list[Ask]:
    """Return what a model is asked for: nothing, and the requests where it knows the property."""
    bare = replace(settings, num_unconditional=None)
    name = data.train.property_name
    if name is None or name not in model.model.statistics.properties:
        return [Ask(UNCONDITIONAL, None, None, bare)]
    values = [c.info[name] for c in with_value(data.train.crystals(), name)]
    target = min(values) if settings.target is None else settings.target
    return asks(bare, name, target, model.model.presets)


def picked(
    entries: Sequence[Crystal | BrokenEntry], count: int, pick: str, seed: int
) -> tuple[list[Crystal | BrokenEntry], str]:
    """Return some entries of a file in its order, and which they are in words.

    Args:
        entries: All entries, broken ones too.
        count: How many.
        pick: ``first``, or ``random`` for a draw without replacement.
        seed: Seed of the draw.
    """
    every = len(entries)
    if count >= every:
        return list(entries), f"all {every:,}"
    if pick == "first":
        return list(entries[:count]), f"the first {count:,} of {every:,}"
    order = np.sort(np.random.default_rng(seed).permutation(every)[:count])
    return [entries[i] for i in order], f"{count:,} of {every:,}, drawn with seed {seed}"
