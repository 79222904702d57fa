"""Time batched relaxations against the potential's own way, one by one, on the same crystals.

    python benchmarks/speed/relaxation.py SAMPLES [--judge chgnet] [--num 100] [--json FILE]

Its own way: for CHGNet its ``StructOptimizer`` (FIRE with ASE's FrechetCellFilter), for SevenNet-0
its calculator with the same optimiser and filter; both end at the largest force, of atoms and
cell. Each side runs in a process of its own, on one thread, after one crystal to warm up. Printed
are crystals per hour, by the clock and by the processor's time (which other work on the machine
does not change), evaluations, peak memory, and every crystal whose energies differ by more than
1 meV/atom.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import child, peak_gib

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.evaluation.distribution import reduced_formula
from pyg_crysdiff.progress import bar
from pyg_crysdiff.relaxation import RelaxSettings, find_judge, relax, right_handed

SAME = 1e-3  # eV/atom
Found = tuple[float, int, bool]  # energy in eV/atom, evaluations, whether it converged


def chosen(args: argparse.Namespace) -> list[Crystal]:
    """Return the crystals of this run: drawn from the file, of elements that the judge knows."""
    judge = find_judge(args.judge)
    known = judge.elements or frozenset(range(1, 119))
    there = [
        right_handed(c)
        for c in read_crystals(args.file)
        if isinstance(c, Crystal) and set(c.atomic_numbers.tolist()) <= known
    ]
    order = np.random.default_rng(args.seed).permutation(len(there))[: args.num]
    return [there[i] for i in sorted(order)]


def batched(args: argparse.Namespace, crystals: list[Crystal]) -> list[Found]:
    """Relax as this package does."""
    settings = RelaxSettings(args.steps, args.fmax)
    found = relax(
        crystals, args.judge, settings, num_workers=0, batch_atoms=args.batch_atoms, progress=True
    )
    return [(r.energy, r.steps + 1, r.converged) for r in found]


def alone(args: argparse.Namespace, crystals: list[Crystal]) -> list[Found]:
    """Relax one by one, as the potential's authors do."""
    one = {"chgnet": chgnet_alone, "sevennet": sevennet_alone}[args.judge](args)
    out = []
    for crystal in bar(crystals, label=f"{args.judge} one by one", show=len(crystals) > 1):
        try:
            with warnings.catch_warnings(), redirect_stdout(StringIO()):
                warnings.simplefilter("ignore")
                out.append(one(crystal))
        except Exception as error:  # as an atom without neighbours
            print(f"one by one failed: {error}", file=sys.stderr)
            out.append((float("nan"), 0, False))
    return out


def chgnet_alone(args: argparse.Namespace) -> Callable[[Crystal], Found]:
    """CHGNet's optimiser, as it comes."""
    from chgnet.model import StructOptimizer  # noqa: PLC0415

    with redirect_stdout(StringIO()):
        optimizer = StructOptimizer(use_device="cpu")

    def one(crystal: Crystal) -> Found:
        found: Any = optimizer.relax(
            crystal.to_structure(), fmax=args.fmax, steps=args.steps, verbose=False
        )
        energies = found["trajectory"].energies  # the last stands twice
        return float(energies[-1]) / len(crystal), len(energies) - 1, len(energies) <= args.steps

    return one


def sevennet_alone(args: argparse.Namespace) -> Callable[[Crystal], Found]:
    """SevenNet's calculator with ASE's FIRE."""
    from ase.filters import FrechetCellFilter  # noqa: PLC0415
    from ase.optimize import FIRE  # noqa: PLC0415
    from sevenn.calculator import SevenNetCalculator  # noqa: PLC0415

    calculator = SevenNetCalculator("7net-0_11July2024", device="cpu")

    def one(crystal: Crystal) -> Found:
        atoms = crystal.to_ase()
        atoms.calc = calculator
        optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)
        converged = bool(optimizer.run(fmax=args.fmax, steps=args.steps))
        energy = float(atoms.get_potential_energy()) / len(crystal)
        return energy, optimizer.get_number_of_steps() + 1, converged

    return one


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run one side, after a crystal to warm up."""
    torch.set_num_threads(1)
    work = {"batched": batched, "alone": alone}[args.side]
    crystals = chosen(args)
    work(args, crystals[:1])
    clock, processor = time.perf_counter(), time.process_time()
    found = work(args, crystals)
    return {
        "seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor,
        "peak_gib": peak_gib(),
        "found": found,
    }


def report(args: argparse.Namespace, sides: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Print what was measured, and return it."""
    crystals = chosen(args)
    print(f"{len(crystals)} crystals of {args.file}, {find_judge(args.judge).title}, one core")
    for name, side in sides.items():
        calls = sum(evaluations for _, evaluations, _ in side["found"])
        print(
            f"{name:8s} {3600 * len(crystals) / side['seconds']:8.0f} crystals/h by the clock, "
            f"{3600 * len(crystals) / side['processor_seconds']:8.0f} by the processor; "
            f"{calls} evaluations, {sum(ok for *_, ok in side['found'])} converged, peak "
            f"{side['peak_gib']:.2f} GiB"
        )
    ratios = {
        key: sides["alone"][key] / sides["batched"][key] for key in ("seconds", "processor_seconds")
    }
    print(f"batched is {ratios['seconds']:.1f} times as fast by the clock, "
          f"{ratios['processor_seconds']:.1f} by the processor")  # fmt: skip
    ours, theirs = (np.array([e for e, *_ in sides[s]["found"]]) for s in ("batched", "alone"))
    different = np.flatnonzero(~(np.abs(ours - theirs) <= SAME))
    lower = int((ours < theirs - SAME).sum())
    print(
        f"energies equal to 1 meV/atom: {len(crystals) - len(different)} of {len(crystals)}; "
        f"batched lower: {lower}, higher or unknown: {len(different) - lower}"
    )
    for i in different:
        print(f"  {i:4d} {reduced_formula(crystals[i]):20s} batched {ours[i]:.4f}, alone "
              f"{theirs[i]:.4f} eV/atom, converged {sides['batched']['found'][i][2]} and "
              f"{sides['alone']['found'][i][2]}")  # fmt: skip
    return {"settings": vars(args), "ratios": ratios, "sides": sides}


def main() -> None:
    """Measure both sides in new processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", help="sample file")
    parser.add_argument("--judge", choices=["chgnet", "sevennet"], default="chgnet")
    parser.add_argument("--num", type=int, default=100, help="crystals (default: 100)")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--fmax", type=float, default=0.05, help="eV/A (default: 0.05)")
    parser.add_argument("--batch-atoms", type=int, help="most atoms in a batch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="keep the numbers")
    parser.add_argument("--side", choices=["batched", "alone"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args)))
        return
    found = report(args, {side: child(side) for side in ("batched", "alone")})
    if args.json:
        args.json.write_text(json.dumps(found, default=str, indent=1) + "\n")


if __name__ == "__main__":
    main()
