"""Files into a database: parsed and reduced in blocks on all cores, never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.entries import RawEntry
from pyg_crysdiff.data.parsing import parse_entries
from pyg_crysdiff.known.adding import BLOCK, Added, add_block, blocks, finish_source, start_source
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.known.sources import Item, Source
from pyg_crysdiff.progress import bar


def index_source(
    database: Database,
    source: Source,
    *,
    block: int = BLOCK,
    num_workers: int | None = None,
    progress: bool = False,
) -> Added | None:
    """Add the crystals of a source that are not there yet.

    After every block the database is whole and notes how far the source was read. Where it was
    killed, the same call goes on behind the last block.

    Args:
        database: It grows.
        source: What is added.
        block: Entries that are in memory, and in one transaction, at a time.
        num_workers: Processes that parse and reduce; None for all cores.
        progress: Show a progress bar.

    Returns:
        What became of the entries that were read now; None where a source of the same content was
        added before.

    Raises:
        ValueError: If the source as a whole cannot be read; the blocks before stay.
    """
    path = database.path
    done = start_source(path, source.name, source.digest)
    if done.is_whole:
        return None
    found, start = Added(), done.entries
    rest = islice(source.items(), start, None)
    with bar(label=source.name, show=progress, initial=start, unit="entries") as shown:
        for items in blocks(rest, block):
            crystals = list(_parsed(items, num_workers))
            found += add_block(path, done.source, start, crystals, num_workers=num_workers)
            start += len(items)
            shown.update(len(items))
    finish_source(path, done.source)
    return found


def _parsed(items: Sequence[Item], num_workers: int | None) -> Iterator[Crystal | BrokenEntry]:
    """Yield crystals and broken entries in order; those that are text are parsed."""
    texts = [item for item in items if isinstance(item, RawEntry)]
    parsed = iter(parse_entries(texts, num_workers=num_workers, progress=False))
    for item in items:
        yield next(parsed) if isinstance(item, RawEntry) else item
