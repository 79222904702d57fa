"""Time and size of a database of known crystals, and of novelty against it.

    python benchmarks/speed/index.py FILES... [--known 100000] [--samples 10000] [--workers 2]

The files (read as ``crysdiff index`` reads them) and copies of their crystals, strained and moved
by up to some tenths of an Angstrom, make a database of ``--known`` crystals. The samples are half
copies of known crystals, moved a little; a quarter with their elements exchanged for neighbours in
the periodic table; a quarter with their atoms at random places. Novelty is also found among the
crystals in memory for the first ``--compare`` samples, and the verdicts are compared. The work is
done in a folder that is kept with ``--keep``; the same command then goes on from it.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from timing import peak_gib

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.uniqueness import PrimitiveCells, novel
from pyg_crysdiff.foreign_warnings import silence_foreign_warnings
from pyg_crysdiff.known import Database, find_known, index_source, open_source
from pyg_crysdiff.parallel import available_cores


def moved(crystal: Crystal, rng: np.random.Generator, size: float) -> Crystal:
    """A copy whose cell is strained by some per cent and whose atoms are moved by ``size`` A."""
    strain = np.eye(3) + rng.normal(0, 0.1 * size, (3, 3))
    step = rng.normal(0, size, crystal.frac_coords.shape) @ np.linalg.inv(crystal.lattice)
    name = f"copy of {crystal.info.get('material_id', '')}"
    return Crystal(
        crystal.lattice @ strain, crystal.frac_coords + step, crystal.atomic_numbers,
        {"material_id": name},
    )  # fmt: skip


def copies(given: Database, seed: int) -> Iterator[Crystal]:
    """Copies of all crystals, over and over, each one different."""
    rng = np.random.default_rng(seed)
    while True:
        for crystal in given.crystals():
            yield moved(crystal, rng, float(rng.uniform(0.02, 0.3)))


def drawn(given: Database, count: int, seed: int) -> list[Crystal]:
    """Samples; see the head of this file."""
    rng = np.random.default_rng(seed)
    step = max(1, len(given) // count)
    chosen = islice(cycle(list(islice(given.crystals(), 0, None, step))), count)
    out = []
    for k, crystal in enumerate(chosen):
        frac, numbers = crystal.frac_coords, crystal.atomic_numbers
        if k % 4 == 2:
            numbers = np.clip(numbers + rng.choice([-1, 1]), 1, 94)
        if k % 4 == 3:
            frac = rng.random(frac.shape)
        out.append(moved(Crystal(crystal.lattice, frac, numbers), rng, 0.05))
    return out


class Memory:
    """Largest memory of this process and its children together, looked at twice a second."""

    def __init__(self) -> None:
        self.peak, self._end = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            self.peak = max(self.peak, resident_gib())


def resident_gib() -> float:
    """Resident memory of this process and its children in GiB (Linux)."""
    own = Path("/proc/self/task")
    words = [p.read_text().split() for p in own.glob("*/children")]
    total = 0
    for process in ("self", *(child for some in words for child in some)):
        try:
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue  # it has ended
        total += pages * resource.getpagesize()
    return total / 2**30


def build(args: argparse.Namespace, folder: Path) -> tuple[Database, dict[str, Any]]:
    """Make the database in two steps: the files, then their copies."""
    given = Database(folder / "given.sqlite", create=True)
    start = time.perf_counter()
    read = 0
    for file in args.files:
        for source in open_source(file):
            found = index_source(given, source, num_workers=args.workers, progress=True)
            read += 0 if found is None else found.entries
    files = time.perf_counter() - start
    known = Database(folder / "known.sqlite", create=True)
    start = time.perf_counter()
    before = len(known)
    known.add(islice(given.crystals(), args.known), num_workers=args.workers)
    known.add(islice(copies(given, 1), max(0, args.known - len(known))), num_workers=args.workers)
    added = time.perf_counter() - start
    facts = {
        "entries_of_files": read,
        "seconds_files": files,
        "crystals": len(known),
        "seconds_added": added,
        "crystals_per_second": (len(known) - before) / added,
        "bytes_per_crystal": known.path.stat().st_size / len(known),
    }
    return known, facts


def search(args: argparse.Namespace, known: Database, given: Database) -> dict[str, Any]:
    """Time novelty against the database, and compare verdicts with those in memory."""
    samples = drawn(given, args.samples, 2)
    cells = PrimitiveCells(num_workers=args.workers, progress=True)
    start = time.perf_counter()
    cells.of(samples)
    reduced = time.perf_counter() - start
    start = time.perf_counter()
    found = find_known(samples, known, cells=cells, num_workers=args.workers, progress=True)
    matched = time.perf_counter() - start
    new = np.array([one is None for one in found])
    facts: dict[str, Any] = {
        "samples": len(samples),
        "seconds_primitive_cells": reduced,
        "seconds_matching": matched,
        "novel": float(new.mean()),
    }
    if args.compare:
        some = samples[: args.compare]
        start = time.perf_counter()
        again = novel(some, list(known.crystals()), num_workers=args.workers, progress=True)
        facts |= {
            "compared": len(some),
            "seconds_in_memory": time.perf_counter() - start,
            "different_verdicts": int((again != new[: len(some)]).sum()),
        }
    return facts


def main() -> None:
    """Build, search, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("files", nargs="+", help="files, folders, data sets")
    parser.add_argument("--known", type=int, default=100_000)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--compare", type=int, default=200, help="samples also searched in memory")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--keep", type=Path, help="folder of the databases")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    silence_foreign_warnings()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with Memory() as building:
            known, result = build(args, folder)
        result["peak_GiB_building"] = building.peak
        with Memory() as searching:
            result |= search(args, known, Database(folder / "given.sqlite"))
        result["peak_GiB_searching"] = searching.peak
        result |= {"workers": args.workers, "peak_GiB_this_process": peak_gib()}
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
