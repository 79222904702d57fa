"""Generate crystals from a checkpoint; written as they come, resumed by the same command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

EXAMPLE = """examples:
  crysdiff sample --checkpoint runs/demo/last.ckpt -n 100 --target min --out samples
  crysdiff sample --checkpoint c.ckpt -n 50 --target energy_per_atom=-154.5 --num-atoms 6-12
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True)
    add("-n", "--num-samples", type=int, default=100)
    add(
        "--target", action="append", metavar="NAME=VALUE",
        help="wanted property (repeat for several), 'min' (training minimum, default) or 'none'",
    )  # fmt: skip
    add("--num-atoms", default="distribution", help="8, 6-24, 'distribution' or 'target'")
    add("--seed", type=int, default=0)
    add("--steps", type=int, help="reverse steps (default: all)")
    add("--guidance", type=float, default=1.0, help="classifier-free guidance; 1 = none")
    add("--corrector-steps", type=int, default=1, help="corrector moves per step")
    add(
        "--renewal", type=float, default=0.0,
        help="share of noise a corrector move replaces, e.g. 0.7; 0 = Langevin (DiffCSP)",
    )  # fmt: skip
    add("--batch-size", type=int, help="crystals per batch (default: bounded memory)")
    add("--device", default="auto")
    add("--precision", default="auto", choices=["auto", "32-true", "bf16-mixed"])
    add("--extrapolate", action="store_true", help="allow targets beyond the training range")
    add("--trust", action="append", default=[], metavar="PACKAGE", help="own conditioner package")
    add("--out", type=Path, default=Path("samples"), help="output folder (default: samples)")


def run(args: argparse.Namespace) -> None:
    """Sample, and say where the files are."""
    from pyg_crysdiff.sampling import sample  # noqa: PLC0415

    crystals = sample(
        args.checkpoint,
        args.num_samples,
        target=_target(args.target),
        num_atoms=_num_atoms(args.num_atoms),
        seed=args.seed,
        steps=args.steps,
        guidance=args.guidance,
        corrector_steps=args.corrector_steps,
        renewal=args.renewal,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
        out=args.out,
        extrapolate=args.extrapolate,
        trusted=args.trust,
    )
    print(f"{len(crystals)} crystals in {args.out}: samples.extxyz, samples.pt, cif/")


def _target(given: list[str] | None) -> Any:
    if given is None or given == ["min"]:
        return "min"
    if given == ["none"]:
        return None
    out = {}
    for pair in given:
        name, sign, value = pair.partition("=")
        try:
            out[name] = float(value)
        except ValueError:
            sign = ""
        if not sign:
            raise ValueError(f"--target must be NAME=NUMBER, min or none, got {pair!r}")
    return out


def _num_atoms(given: str) -> Any:
    if given in ("distribution", "target"):
        return given
    low, dash, high = given.partition("-")
    try:
        return (int(low), int(high)) if dash else int(low)
    except ValueError:
        raise ValueError(
            f"--num-atoms must be a number, a range such as 6-24, 'distribution' or 'target', "
            f"got {given!r}"
        ) from None
