"""What an earlier command left in an output folder is put aside, not written over."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.samples import NamedFile
from pyg_crysdiff.storage import file_name

RESULTS = "results.json"


def put_aside(out: Path, files: Sequence[NamedFile]) -> None:
    """Move the results of other files in an output folder into ``earlier-1``, ``earlier-2``, ...

    Results of the same files stay, and are made again where a setting has changed. What was moved
    is said on the screen.

    Args:
        out: Output folder of ``crysdiff evaluate``.
        files: Files that are evaluated now.
    """
    earlier = _rows(out / RESULTS)
    if not earlier or set(earlier.values()) <= {file.path for file in files}:
        return
    aside = next(p for k in range(1, 10_000) if not (p := out / f"earlier-{k}").exists())
    aside.mkdir()
    for path in [out / RESULTS, *(p for name in earlier for p in _tables(out, file_name(name)))]:
        path.rename(aside / path.name)
    say(f"{out} held the results of {', '.join(earlier.values())}; they are in {aside} now")


def _rows(path: Path) -> dict[str, str]:
    """Return name and file of the rows of a results file; none where it is of another kind."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return {str(row["method"]): str(row["source"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _tables(out: Path, stem: str) -> list[Path]:
    """Return what the evaluation of one file left: tables, record, relaxed crystals."""
    name = re.compile(re.escape(stem) + r"(-relaxed.*|-by_size)?\.(csv|json|extxyz)")
    return sorted(p for p in out.iterdir() if name.fullmatch(p.name) and p.name != RESULTS)
