"""Time matching against plain pymatgen, side by side in one run, and list the pairs that differ.

    python benchmarks/speed/matching.py --samples FILE --known FILE [FILE ...] [--pairs 3000]

Cells are reduced once for both sides. Pairs of a sample and a known crystal of one composition and
size are drawn at random and compared by ``StructureMatcher.fit`` and by ours, then by
``get_rms_dist`` (tolerances of the match rate) and by ours. Prints milliseconds per pair, pairs per
second, ratios, what went to pymatgen after all, and every difference. Then the novelty of all
samples and the uniqueness of growing parts of them are timed, reduction of cells included.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from timing import peak_gib

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.evaluation.uniqueness import first_occurrences, known_groups, known_matches
from pyg_crysdiff.known.cells import Cell, PrimitiveCells
from pyg_crysdiff.known.kernel import OPEN, PackedCells, compare_cells, kernel_agrees

Pair = tuple[Cell, Cell]  # a known cell and that of a sample
MODES = {"fit": (0.2, 0.3, 5.0), "rms": (0.3, 0.5, 10.0)}
AGREED = 2e-8  # between two RMS displacements


def read(paths: list[Path], most: int) -> list[Crystal]:
    """Crystals of some files, the first ones; broken entries are left out."""
    found = [c for path in paths for c in read_crystals(path) if isinstance(c, Crystal)]
    return found[:most]


def draw_pairs(samples: list[Crystal], known: list[Crystal], most: int) -> tuple[list[Pair], int]:
    """Random pairs of one composition and size, in the order of the samples; and how many exist."""
    cells = PrimitiveCells(num_workers=1)
    keyed = cells.of(samples)
    groups = known_groups((key for key, _ in keyed), known, cells)
    every = [
        (i, k) for i, (key, _) in enumerate(keyed) if key for k in range(len(groups.get(key, ())))
    ]
    chosen = sorted(random.Random(0).sample(every, min(most, len(every))))
    ready: dict[Any, Cell] = {}

    def cell(name: Any, structure: Any) -> Cell:
        return ready.setdefault(name, Cell(structure))

    pairs = [
        (cell(("known", key, k), groups[key][k][1]), cell(i, structure))
        for i, k in chosen
        for key, structure in [keyed[i]]
        if key is not None
    ]
    return pairs, len(every)


def plain(mode: str) -> Callable[[Cell, Cell], float]:
    """What pymatgen says of a pair: 1 for a match, NaN for none; or the RMS displacement."""
    compare = StructureMatcher(*MODES[mode], primitive_cell=False)

    def fit(known: Cell, cell: Cell) -> float:
        pair = known.structure, cell.structure
        return 1.0 if compare.fit(*pair, skip_structure_reduction=True) else np.nan

    def rms(known: Cell, cell: Cell) -> float:
        pair = compare._preprocess(known.structure, cell.structure, skip_structure_reduction=True)
        found = compare._match(*pair, use_rms=True, break_on_match=False)
        return np.nan if found is None else float(found[0])

    return fit if mode == "fit" else rms


def ours(pairs: list[Pair], mode: str) -> tuple[list[float], int]:
    """The same by the kernel, and by pymatgen where a pair is left open; and how many those are."""
    asked, opened, out = plain(mode), 0, []
    by_cell: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_cell[id(pair[1])].append(pair)
    for some in by_cell.values():
        packed, which = PackedCells.join([known.packed for known, _ in some]), np.arange(len(some))
        verdicts, rms = compare_cells(
            packed, which, some[0][1].packed, MODES[mode], want_rms=mode == "rms"
        )
        for pair, verdict, value in zip(some, verdicts.tolist(), rms.tolist(), strict=True):
            opened += verdict == OPEN
            found = asked(*pair) if verdict == OPEN else (value if mode == "rms" else 1.0)
            out.append(found if verdict else np.nan)
    return out, opened


def compare_sides(pairs: list[Pair], mode: str) -> dict[str, Any]:
    """Time both sides on the same pairs and list those that differ."""
    asked = plain(mode)
    start = time.process_time()
    expected = np.array([asked(*pair) for pair in pairs])
    seconds = {"pymatgen": time.process_time() - start}
    for cell in (cell for pair in pairs for cell in pair):
        vars(cell).pop("packed", None)  # what is made once per cell counts for ours
    start = time.process_time()
    values, opened = ours(pairs, mode)
    seconds["ours"] = time.process_time() - start
    found = np.array(values)
    same = (np.isnan(found) & np.isnan(expected)) | (np.abs(found - expected) < AGREED)
    differ = [
        {"pair": i, "content": pairs[i][1].structure.formula, "ours": found[i], "pymatgen": other}
        for i, other in enumerate(expected)
        if not same[i]
    ]
    return {
        "pairs": len(pairs), "matches": int((~np.isnan(expected)).sum()), "open": opened,
        "ms_per_pair": {side: 1e3 * s / len(pairs) for side, s in seconds.items()},
        "pairs_per_second": {side: len(pairs) / s for side, s in seconds.items()},
        "ratio": seconds["pymatgen"] / seconds["ours"], "differ": differ,
    }  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of some work, and its result."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def curve(samples: list[Crystal], known: list[Crystal], workers: int) -> list[dict[str, Any]]:
    """Seconds of uniqueness and novelty of growing parts: with cells to reduce, and after that."""
    out = []
    for share in (8, 4, 2, 1):
        some = samples[: len(samples) // share]
        cells = PrimitiveCells(num_workers=workers)
        row: dict[str, Any] = {"samples": len(some), "known": len(known)}
        row["cells_s"], _ = timed(lambda: cells.of(some))  # noqa: B023  (called at once)
        options: dict[str, Any] = {"cells": cells, "num_workers": workers}
        row["uniqueness_s"], first = timed(lambda: first_occurrences(some, **options))  # noqa: B023
        row["unique"] = int(first.sum())
        row["novelty_cold_s"], found = timed(lambda: known_matches(some, known, **options))  # noqa: B023
        row["novelty_s"], _ = timed(lambda: known_matches(some, known, **options))  # noqa: B023
        row["known_again"] = sum(match is not None for match in found)
        out.append(row)
        print(json.dumps(row), flush=True)
    return out


def main() -> None:
    """Compare, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--samples", type=Path, nargs="+", required=True)
    parser.add_argument("--known", type=Path, nargs="+", required=True)
    parser.add_argument("--num-samples", type=int, default=10_000)
    parser.add_argument("--num-known", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=3000)
    parser.add_argument("--rms-pairs", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-curve", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    samples, known = read(args.samples, args.num_samples), read(args.known, args.num_known)
    result: dict[str, Any] = {"kernel": kernel_agrees()}
    pairs, every = draw_pairs(samples, known, max(args.pairs, args.rms_pairs))
    result |= {"samples": len(samples), "known": len(known), "pairs_of_one_key": every}
    random.Random(1).shuffle(pairs)
    for mode, most in (("fit", args.pairs), ("rms", args.rms_pairs)):
        some = sorted(pairs[:most], key=lambda pair: id(pair[1]))
        result[mode] = compare_sides(some, mode)
        print(mode, json.dumps(result[mode], indent=2), flush=True)
    if not args.no_curve:
        result["curve"] = curve(samples, known, args.workers)
    result["peak_GiB"] = peak_gib()
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
