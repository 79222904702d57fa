"""Whether the files at hand are the published ones, and what is said where they are not."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyg_crysdiff.data.download import blob_id_of
from pyg_crysdiff.data.splits import SPLITS, find_table
from pyg_crysdiff.storage import content_digest, facts_digest, read_keyed, whole, write_json

_CRYSTALS = {"train": "training", "val": "validation", "test": "test"}
_CHANGED = "changed"
_FORMAT = 1
_LONGEST_FIELD = 2**31 - 1  # the CIF text of a large cell is longer than csv's default allows


@dataclass(frozen=True)
class PublishedFile:
    """What is known of a file as it was published.

    Attributes:
        blob: Its git blob id, of the content without compression.
        rows: Crystals in it.
    """

    blob: str
    rows: int


def differences(folder: Path, published: Mapping[str, PublishedFile], cache: Path) -> list[str]:
    """Say how the files of a folder differ from the published ones, the training file first.

    Files that are not there are no difference. A compressed file counts by what it holds.

    Args:
        folder: Folder of ``train.csv``, ``val.csv`` and ``test.csv``, or the same with ``.gz``.
        published: Name of a part to its published file.
        cache: Folder in which the facts of a file are kept; they are found once per content.

    Returns:
        ``23,474 of 27,136 training crystals`` for each file whose number of crystals differs;
        ``train.csv differs from the published file`` where the content alone does, in one text for
        all such files; nothing where all are the published ones.
    """
    found: list[str] = []
    changed: list[str] = []  # in content alone
    place = 0
    for part in (name for name in SPLITS if name in published):
        file = find_table(folder, part)
        if file is None:
            continue
        counts = _counts(part, file, published[part], cache)
        if counts == _CHANGED:
            place = place if changed else len(found)
            changed.append(f"{part}.csv")
        elif counts is not None:
            found.append(counts)
    if changed:
        found.insert(place, _differ(changed))
    return found


def _differ(files: Sequence[str]) -> str:
    if len(files) == 1:
        return f"{files[0]} differs from the published file"
    return f"{', '.join(files[:-1])} and {files[-1]} differ from the published files"


def _counts(part: str, file: Path, published: PublishedFile, cache: Path) -> str | None:
    """Say how the number of crystals differs; ``_CHANGED`` for the content alone, None for none."""
    try:
        facts = _kept_facts(file, cache)
    except (OSError, EOFError, ValueError, zlib.error, csv.Error):
        return f"{part}.csv cannot be read"
    if facts.rows != published.rows:
        of = "of" if facts.rows < published.rows else "instead of"
        return f"{facts.rows:,} {of} {published.rows:,} {_CRYSTALS[part]} crystals"
    return None if facts.blob == published.blob else _CHANGED


def _kept_facts(file: Path, cache: Path) -> PublishedFile:
    """Return the facts of a file, from the cache where the same content was seen before."""
    key = facts_digest({"format": _FORMAT, "content": content_digest(file)})
    place = cache / f"{key[:16]}.file.json"
    found = whole(place, lambda path: _of_record(read_keyed(path, key)))
    if found is None:
        found = _facts(file)
        with suppress(OSError):  # the next time it is found again
            write_json(place, {"key": key, "blob": found.blob, "rows": found.rows})
    return found


def _of_record(record: Mapping[str, object]) -> PublishedFile:
    return PublishedFile(str(record["blob"]), int(str(record["rows"])))


def _facts(file: Path) -> PublishedFile:
    raw = file.read_bytes()
    content = gzip.decompress(raw) if file.suffix == ".gz" else raw
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        lines = csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""))
        rows = sum(1 for line in lines if line) - 1  # the first one names the columns
    finally:
        csv.field_size_limit(before)
    return PublishedFile(blob_id_of(content), max(rows, 0))
