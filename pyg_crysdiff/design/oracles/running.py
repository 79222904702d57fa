"""Evaluations through the engine in charge, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.engine import Failed, Patience, Processes, Serial, current_engine


def in_turn(
    work: Callable[[tuple[str, Crystal]], Answer],
    crystals: Mapping[str, Crystal],
    num_workers: int | None = None,
    fatal: tuple[type[Exception], ...] | type[Exception] = (),
) -> Iterator[tuple[str, Answer]]:
    """Yield keys and answers as they complete.

    Args:
        work: Makes the answer for a key and its crystal; can be pickled.
        crystals: By key.
        num_workers: Processes where no engine is in charge; None for all cores.
        fatal: Errors after which nothing can be evaluated; they are raised.
    """
    items = list(crystals.items())
    engine = current_engine(num_workers)
    if len(items) < 2 and isinstance(engine, Processes):
        engine = Serial()
    for place, found in engine.run(work, items, patience=Patience(raising=1)):
        if isinstance(found, Failed) and isinstance(found.error, fatal):
            raise found.error
        yield items[place][0], Answer.failed(found.reason) if isinstance(found, Failed) else found
