"""Cost of the EAD descriptor and its gradient: against atoms, against the cutoff, and in memory.

    python benchmarks/speed/descriptor_cost.py DATA/mpts_52/val.csv.gz

Reads crystals of growing size from any file of structures, and times a value and a gradient of the
full descriptor (three widths, 200 centres) on one thread. Peak memory is that of this process at
the end, after the largest crystal at the largest cutoff, minus what the imports need.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from timing import peak_gib

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.objective import pool


def measure(crystal: Crystal, cutoff: float, repeats: int) -> dict[str, float]:
    """Time the pooled descriptor of a crystal, and its gradient with respect to positions."""
    centres = [k * cutoff / 200 for k in range(200)]
    descriptor = EmbeddedAtomDensity(centres=centres, cutoff=cutoff)
    lattice = torch.tensor(crystal.lattice, dtype=torch.float32).unsqueeze(0)
    numbers, sizes = torch.tensor(crystal.atomic_numbers), torch.tensor([len(crystal)])
    seconds: dict[str, list[float]] = {"value": [], "gradient": []}
    for _ in range(repeats):
        x = torch.tensor(crystal.frac_coords, dtype=torch.float32)
        start = time.perf_counter()
        descriptor(x, lattice, numbers, sizes)
        middle = time.perf_counter()
        x.requires_grad_()
        pool(descriptor(x, lattice, numbers, sizes), sizes).sum().backward()
        seconds["value"].append(middle - start)
        seconds["gradient"].append(time.perf_counter() - middle)
    return {name: min(values) for name, values in seconds.items()}


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structures", help="file or folder of structures, e.g. mpts_52/val.csv.gz")
    parser.add_argument("--cutoffs", type=float, nargs="+", default=[5.0, 10.0, 15.0, 20.0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16, 32, 52])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    entries = [c for c in read_crystals(args.structures) if isinstance(c, Crystal)]
    before = peak_gib()
    rows = []
    print("atoms  r_c  value, s  value and gradient, s")
    for size in args.sizes:
        fitting = [c for c in entries if len(c) == size]
        if not fitting:
            print(f"{size:5d}  no crystal of this size in {args.structures}")
            continue
        for cutoff in args.cutoffs:
            found = measure(fitting[0], cutoff, args.repeats)
            rows.append({"atoms": size, "cutoff": cutoff, **found})
            print(f"{size:5d} {cutoff:4.0f} {found['value']:9.4f} {found['gradient']:9.4f}")
    used = peak_gib()
    print(f"peak memory {used:.2f} GiB, {used - before:.2f} GiB of it since the file was read")
    if args.json:
        facts = {"rows": rows, "peak_gib": used, "peak_after_reading_gib": used - before}
        args.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
