"""Kill a worker with -9 in the middle of relaxations: are the records those of one process?

    python benchmarks/checks/killed_workers.py --judge chgnet --num 48

The crystals are shaken ones of the demo set. They are relaxed by one process, and by two workers
of a local Dask cluster, of a Dask scheduler started by hand, and by two processes; each time a
worker is killed once the first results are on disk. Prints a line for each.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyg_crysdiff import Crystal, load_dataset
from pyg_crysdiff.engine import using_engine
from pyg_crysdiff.relaxation import RelaxSettings, relax


def shaken(num: int) -> list[Crystal]:
    """Return crystals of the demo set with displaced atoms."""
    rng = np.random.default_rng(0)
    crystals = load_dataset("demo", "test").crystals()[:num]
    return [
        replace(c, frac_coords=c.frac_coords + rng.normal(0, 0.01, c.frac_coords.shape))
        for c in crystals
    ]


def children(of: int) -> list[int]:
    """Return all processes that a process has started, and theirs."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in table.stdout.splitlines()]
    found, todo = [], [of]
    while todo:
        parent = todo.pop()
        below = [pid for pid, above in pairs if above == parent]
        found += below
        todo += below
    return found


def busiest() -> int:
    """Return the process below this one that has computed most lately, a worker."""

    def ticks(pid: int) -> int:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        return int(fields[11])

    before = {pid: ticks(pid) for pid in children(os.getpid())}
    time.sleep(1)
    return max(before, key=lambda pid: ticks(pid) - before[pid])


def kill_once(folder: Path, told: list[int]) -> None:
    """Wait for results on disk, and kill a worker."""
    while not any(path.stat().st_size for path in folder.rglob("*") if path.is_file()):
        time.sleep(0.2)
    told.append(busiest())
    os.kill(told[0], signal.SIGKILL)


@contextmanager
def by_hand() -> Iterator[str]:
    """Start a scheduler and two workers, and return the scheduler's file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scheduler.json")
        words = (["scheduler", "--port", "0"], ["worker", "--nworkers", "2", "--nthreads", "1"])
        started = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options, "--no-dashboard",
                 "--scheduler-file", str(file)],
                cwd=folder, stderr=subprocess.DEVNULL,
            )
            for kind, *options in words
        ]  # fmt: skip
        while not file.is_file():
            time.sleep(0.2)
        try:
            yield str(file)
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--judge", default="ase:pyg_crysdiff.testing.potential.PairCalculator")
    parser.add_argument("--num", type=int, default=48)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--engines", nargs="+", default=["dask", "hand", "processes"])
    given = parser.parse_args()
    crystals, settings = shaken(given.num), RelaxSettings(steps=given.steps)

    def relaxed(folder: Path | None) -> list[dict]:
        return [r.to_dict() for r in relax(crystals, given.judge, settings, cache_dir=folder)]

    began = time.perf_counter()
    with using_engine("serial"):
        alone = relaxed(None)
    converged = sum(record["converged"] for record in alone)
    seconds = time.perf_counter() - began
    print(f"{given.num} crystals, {given.judge}: {converged} converged, {seconds:.0f} s alone")
    ways = {
        "dask": nullcontext("dask:2"),
        "hand": by_hand(),
        "processes": nullcontext("processes:2"),
    }
    for name in given.engines:
        report(name, ways[name], relaxed, alone)


def report(
    name: str,
    opened: AbstractContextManager[str],
    relaxed: Callable[[Path], list[dict]],
    alone: list[dict],
) -> None:
    """Relax with an engine of which a worker is killed, and print what came of it."""
    told: list[int] = []
    with tempfile.TemporaryDirectory() as folder, opened as spec, using_engine(spec):
        began = time.perf_counter()
        threading.Thread(target=kill_once, args=(Path(folder), told), daemon=True).start()
        found = relaxed(Path(folder))
        seconds = time.perf_counter() - began
    pairs = list(zip(found, alone, strict=True))
    known = [(a["energy"], b["energy"]) for a, b in pairs if None not in (a["energy"], b["energy"])]
    apart = max((abs(x - y) for x, y in known), default=0.0)
    print(
        f"{name:<12} killed {told or 'none'}: {sum(a == b for a, b in pairs)} of {len(pairs)} "
        f"records equal to the bit, energies within {apart:.1e} eV/atom, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
