"""Scoring the samples of a row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.evaluation.cache import Entries, scored
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol

Say = Callable[[str], None]


def score(out: Path, method: str, entries: Entries, protocol: Protocol, say: Say) -> Evaluation:
    """Return what a run kept of these samples in its tables, or score and keep them."""

    def before() -> None:
        say(f"{method}: scoring {len(entries)} crystals")

    return scored(out / "tables" / file_stem(method), entries, protocol, before)
