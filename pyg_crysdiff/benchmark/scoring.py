"""Reading and scoring the samples of a row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyg_crysdiff.benchmark.names import file_stem
from pyg_crysdiff.data import BrokenEntry, Crystal, read_crystals
from pyg_crysdiff.data.readers import unreadable_line
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol
from pyg_crysdiff.evaluation.kept import Entries, scored

Say = Callable[[str], None]


def read_samples(path: Path, say: Say) -> list[Crystal | BrokenEntry]:
    """Read a sample file, and say what of it could not be read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it as a whole cannot be read, or is empty.
    """
    entries = read_crystals(path)
    if not entries:
        raise ValueError(f"{path} holds no crystals")
    if (line := unreadable_line(entries, path)) is not None:
        say(f"{path}: {line}")
    return entries


def score(out: Path, method: str, entries: Entries, protocol: Protocol, say: Say) -> Evaluation:
    """Return what a run kept of these samples in its tables, or score and keep them."""

    def before() -> None:
        say(f"{method}: scoring {len(entries)} crystals")

    return scored(out / "tables" / file_stem(method), entries, protocol, before)
