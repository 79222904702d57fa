"""Options of ``crysdiff benchmark`` that say how the reverse process is run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.numbers import count, positive, share, whole

if TYPE_CHECKING:
    from pyg_crysdiff.diffusion.sampler import Sampler


def add_sampler(parser: argparse.ArgumentParser) -> None:
    """Declare the options in a group of their own."""
    group = parser.add_argument_group(
        "sampler",
        "One of these options replaces the sampler of configs/benchmark.yaml as a whole. What is "
        "not named then is that of --sampler. StructRepDiff takes the solver (ancestral or flow), "
        "the steps and their times; it has no corrector and no temperature.",
    )
    add = group.add_argument
    add(
        "--sampler", choices=["paper", "fast"],
        help="paper: all steps with a corrector move each; fast: 200 steps, nearly as good",
    )  # fmt: skip
    add(
        "--solver", choices=["ancestral", "renewing", "flow", "mixed"],
        help="kind of the reverse steps",
    )  # fmt: skip
    add("--steps", type=count, help="number of reverse steps")
    add("--spacing", choices=["uniform", "edm", "focused"], help="times of the reverse steps")
    add("--corrector-steps", type=whole, help="corrector moves of the coordinates per step")
    add("--renewal", type=share, help="share of noise a move replaces; 0 = Langevin")
    add("--temperature", type=positive, help="of the atoms' places; not with --solver flow")


def named_samplers(args: argparse.Namespace) -> dict[str, Sampler]:
    """Return the samplers that the options name, by their place in the settings.

    Empty where they name nothing, and without StructRepDiff's where they name nothing of it.
    """
    from pyg_crysdiff.diffusion.sampler import Sampler  # noqa: PLC0415
    from pyg_crysdiff.structrepdiff.model import StructRepDiff  # noqa: PLC0415

    named: dict[str, Any] = {
        "solver": args.solver,
        "steps": args.steps,
        "spacing": args.spacing,
        "corrector_steps": args.corrector_steps,
        "renewal": args.renewal,
        "temperature": args.temperature,
    }
    if args.sampler is None and all(value is None for value in named.values()):
        return {}
    out = {"sampler": Sampler.of(args.sampler, **named)}
    followed = {name: named[name] for name in ("solver", "steps", "spacing")}
    asks = args.sampler is not None or any(value is not None for value in followed.values())
    if asks and args.solver in (None, *StructRepDiff.solvers):
        out["structrepdiff_sampler"] = Sampler.of(args.sampler, StructRepDiff.presets, **followed)
    return out
