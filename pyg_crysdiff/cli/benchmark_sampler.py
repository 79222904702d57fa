"""Options of ``crysdiff benchmark`` that say how the reverse process is run."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.cli import sampling_options

if TYPE_CHECKING:
    from pyg_crysdiff.diffusion.sampler import Sampler


_REPLACED = (
    "One of these options replaces the sampler of configs/benchmark.yaml as a whole. What is\n"
    "not named then is that of --sampler. StructRepDiff takes the solver (ancestral or flow),\n"
    "the steps and their times; it has no corrector and no temperature."
)


def add_sampler(parser: argparse.ArgumentParser) -> None:
    """Declare the options in a group of their own."""
    sampling_options.add_sampler(parser, _REPLACED)


def named_samplers(args: argparse.Namespace) -> dict[str, Sampler]:
    """Return the samplers that the options name, by their place in the settings.

    Empty where they name nothing, and without StructRepDiff's where they name nothing of it.
    """
    from pyg_crysdiff.diffusion.sampler import Sampler  # noqa: PLC0415
    from pyg_crysdiff.structrepdiff.model import StructRepDiff  # noqa: PLC0415

    named: dict[str, Any] = {name: getattr(args, name) for name in sampling_options.SAMPLER_VALUES}
    if args.sampler is None and all(value is None for value in named.values()):
        return {}
    out = {"sampler": Sampler.of(args.sampler, **named)}
    followed = {name: named[name] for name in ("solver", "steps", "spacing")}
    asks = args.sampler is not None or any(value is not None for value in followed.values())
    if asks and args.solver in (None, *StructRepDiff.solvers):
        out["structrepdiff_sampler"] = Sampler.of(args.sampler, StructRepDiff.presets, **followed)
    return out
