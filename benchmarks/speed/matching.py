"""Time matching against plain pymatgen, side by side in one run, and list the pairs that differ.

    python benchmarks/speed/matching.py --samples FILE --known FILE [FILE ...] [--pairs 3000]

Cells are reduced once for both sides. All pairs of a sample and a known crystal of one composition
and size are compared by ours, random ones of them by ``StructureMatcher.fit``; then, for some
samples, by ``get_rms_dist`` with the tolerances of the match rate. Prints milliseconds of a pair,
ratios, what went to pymatgen after all, and every difference. Then the uniqueness and the novelty
of growing parts of the samples are timed.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from timing import peak_gib

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.evaluation.uniqueness import first_occurrences, known_groups, known_matches
from pyg_crysdiff.known.cells import Cell, PrimitiveCells
from pyg_crysdiff.known.kernel import NO, OPEN, PackedCells, compare_cells, kernel_agrees

MODES = {"fit": (0.2, 0.3, 5.0), "rms": (0.3, 0.5, 10.0)}
AGREED = 2e-8  # between two RMS displacements


def read(paths: list[Path], most: int) -> list[Crystal]:
    """Crystals of some files, the first ones; broken entries are left out."""
    found = [c for path in paths for c in read_crystals(path) if isinstance(c, Crystal)]
    return found[:most]


def grouped(samples: list[Crystal], known: list[Crystal]) -> list[tuple[Cell, list[Cell]]]:
    """Reduced cells of samples, each with those of the known crystals that it may match."""
    cells = PrimitiveCells(num_workers=1)
    keyed = cells.of(samples)
    groups = {
        key: [Cell(structure) for _, structure in members]
        for key, members in known_groups((key for key, _ in keyed), known, cells).items()
    }
    return [(Cell(structure), groups[key]) for key, structure in keyed if key and key in groups]


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


def ours(table: list[tuple[Cell, list[Cell]]], mode: str) -> tuple[list[list[float]], int]:
    """Return the same for all pairs, and how many of them pymatgen was asked for."""
    asked, opened, out = plain(mode), 0, []
    packs: dict[int, PackedCells] = {}
    for cell, known in table:
        if id(known) not in packs:
            packs[id(known)] = PackedCells.join([one.packed for one in known])
        verdicts, rms = compare_cells(
            packs[id(known)], np.arange(len(known)), cell.packed, MODES[mode],
            want_rms=mode == "rms",
        )  # fmt: skip
        row = np.where(verdicts == NO, np.nan, rms if mode == "rms" else 1.0)
        for k in np.flatnonzero(verdicts == OPEN):
            row[k] = asked(known[k], cell)
            opened += 1
        out.append(row.tolist())
    return out, opened


def compare_sides(table: list[tuple[Cell, list[Cell]]], mode: str, most: int) -> dict[str, Any]:
    """Time ours on all pairs and pymatgen on some of them, and list those that differ.

    Raises:
        SystemExit: If there is no pair.
    """
    asked = plain(mode)
    every = [(i, k) for i, (_, known) in enumerate(table) for k in range(len(known))]
    if not every:
        raise SystemExit(
            f"{mode}: no sample has the composition of a known crystal; raise --num-samples, "
            "--num-known or --rms-samples"
        )
    chosen = sorted(random.Random(0).sample(every, min(most, len(every))))
    for one in {id(one): one for cell, known in table for one in (cell, *known)}.values():
        _ = one.structure
        vars(one).pop("packed", None)  # what is made once per cell counts for ours
    start = time.process_time()
    values, opened = ours(table, mode)
    seconds = time.process_time() - start
    start = time.process_time()
    expected = np.array([asked(table[i][1][k], table[i][0]) for i, k in chosen])
    plain_seconds = time.process_time() - start
    found = np.array([values[i][k] for i, k in chosen])
    same = (np.isnan(found) & np.isnan(expected)) | (np.abs(found - expected) < AGREED)
    differ = [
        {
            "content": table[chosen[n][0]][0].structure.formula, "pair": chosen[n],
            "ours": found[n], "pymatgen": expected[n],
        }
        for n in np.flatnonzero(~same)
    ]  # fmt: skip
    return {
        "pairs": len(every), "compared_with_pymatgen": len(chosen), "open": opened,
        "matches_of_compared": int((~np.isnan(expected)).sum()),
        "ours_ms_per_pair": 1e3 * seconds / len(every),
        "pymatgen_ms_per_pair": 1e3 * plain_seconds / len(chosen),
        "ours_pairs_per_second": len(every) / seconds,
        "ratio": plain_seconds / len(chosen) / (seconds / len(every)), "differ": differ,
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
    parser.add_argument("--rms-samples", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-curve", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    samples, known = read(args.samples, args.num_samples), read(args.known, args.num_known)
    result: dict[str, Any] = {"kernel": kernel_agrees()}
    table = grouped(samples, known)
    result |= {"samples": len(samples), "known": len(known)}
    for mode, most, part in (
        ("fit", args.pairs, table),
        ("rms", args.rms_pairs, random.Random(1).sample(table, min(args.rms_samples, len(table)))),
    ):
        result[mode] = compare_sides(part, mode, most)
        print(mode, json.dumps(result[mode], indent=2), flush=True)
    if not args.no_curve:
        result["curve"] = curve(samples, known, args.workers)
    result["peak_GiB"] = peak_gib()
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
