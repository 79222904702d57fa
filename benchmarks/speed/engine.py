"""Cost of the engine: many tiny items, a large function, by each engine.

    python benchmarks/speed/engine.py
    python benchmarks/speed/engine.py --items 2000 --workers 4

The items cost nothing, so that what is left is the engine's. Starting workers is timed apart. The
second table sends a function that holds 20 MB: only once per worker, or it would not end.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context

from pyg_crysdiff.engine import Engine, using_engine

LARGE = 20_000_000  # bytes


def tiny(x: int) -> int:
    """Cost nothing."""
    return x + 1


def large(data: bytes, x: int) -> int:
    """Cost nothing, and need much."""
    return x + data[x % len(data)]


def engines(workers: int) -> Iterator[tuple[str, str | Executor]]:
    """Yield name and engine."""
    yield "serial", "serial"
    yield "processes", f"processes:{workers}"
    yield "dask", f"dask:{workers}"
    yield "executor, threads", ThreadPoolExecutor(workers)
    yield "executor, processes", ProcessPoolExecutor(workers, get_context("spawn"))


def timed(engine: Engine, work: Callable[[int], int], items: range, chunksize: int) -> float:
    """Return the seconds of a piece of work, whose results are checked."""
    began = time.perf_counter()
    found = sorted(engine.run(work, items, chunksize=chunksize))
    seconds = time.perf_counter() - began
    assert found == [(x, work(x)) for x in items]
    return seconds


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chunksizes", type=int, nargs="+", default=[32])
    given = parser.parse_args()
    items, heavy = range(given.items), partial(large, os.urandom(LARGE))
    names = [*(f"by {n}, s" for n in given.chunksizes), "per item, us", "of serial", "20 MB, s"]
    print(f"{given.items} items, {given.workers} workers")
    print(f"{'engine':<22}{'start, s':>10}" + "".join(f"{name:>14}" for name in names))
    serial = None
    for name, spec in engines(given.workers):
        with ExitStack() as held:
            began = time.perf_counter()
            if isinstance(spec, Executor):
                held.enter_context(spec)
            engine = held.enter_context(using_engine(spec))
            timed(engine, tiny, range(2 * given.workers), 1)  # starts what starts late
            started = time.perf_counter() - began
            taken = [timed(engine, tiny, items, n) for n in given.chunksizes]
            serial = serial or taken[0]
            sent = timed(engine, heavy, items, given.chunksizes[0])
        ratio = f"{taken[0] / serial:.1f}"
        cells = [*(f"{t:.2f}" for t in taken), f"{1e6 * taken[0] / len(items):.1f}", ratio]
        print(f"{name:<22}{started:>10.2f}" + "".join(f"{c:>14}" for c in [*cells, f"{sent:.2f}"]))


if __name__ == "__main__":
    main()
