"""Options of ``crysdiff benchmark`` that say how the reverse process is run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli.numbers import count, share, whole

if TYPE_CHECKING:
    from pyg_crysdiff.diffusion.sampler import Sampler


def add_sampler(parser: argparse.ArgumentParser) -> None:
    """Declare the options in a group of their own."""
    group = parser.add_argument_group(
        "sampler",
        "One of these options replaces the sampler of configs/benchmark.yaml as a whole. What is "
        "not named then is that of --sampler.",
    )
    add = group.add_argument
    add(
        "--sampler", choices=["paper", "fast"],
        help="paper: all steps with a corrector move each; fast: 200 steps, nearly as good",
    )  # fmt: skip
    add("--solver", choices=["ancestral", "renewing", "flow"], help="kind of the reverse steps")
    add("--steps", type=count, help="number of reverse steps")
    add("--spacing", choices=["uniform", "edm", "focused"], help="times of the reverse steps")
    add("--corrector-steps", type=whole, help="corrector moves of the coordinates per step")
    add("--renewal", type=share, help="share of noise a move replaces; 0 = Langevin")


def named_sampler(args: argparse.Namespace) -> Sampler | None:
    """Return the sampler that the options name; None where they name nothing of it."""
    from pyg_crysdiff.diffusion.sampler import Sampler  # noqa: PLC0415

    named: dict[str, Any] = {
        "solver": args.solver,
        "steps": args.steps,
        "spacing": args.spacing,
        "corrector_steps": args.corrector_steps,
        "renewal": args.renewal,
    }
    if args.sampler is None and all(value is None for value in named.values()):
        return None
    return Sampler.of(args.sampler, **named)
