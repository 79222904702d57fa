"""Options of ``crysdiff benchmark --task sun``, the leaderboard of stable, novel crystals."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pyg_crysdiff.cli.judging import device_of
from pyg_crysdiff.cli.lists import named
from pyg_crysdiff.cli.numbers import count, finite, positive, whole
from pyg_crysdiff.cli.shards import parse_shard

if TYPE_CHECKING:
    from pyg_crysdiff.benchmark.settings import Settings
    from pyg_crysdiff.evaluation.results import Results

NUM_SAMPLES = 250


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options in a group of their own."""
    add = parser.add_argument_group("leaderboard (--task sun)").add_argument
    add(
        "--judge", action="append", metavar="NAME",
        help="chgnet, sevennet, ase:module.Class or torchsim:NAME; repeated (default: chgnet and "
        "sevennet)",
    )  # fmt: skip
    add(
        "--hull", action="append", default=[], metavar="JUDGE=FILE",
        help="file of crysdiff hull (default: made of the data set's crystals)",
    )  # fmt: skip
    add("--lowest", type=count, metavar="N", help="as in crysdiff hull, for hulls made here")
    add("--known", type=Path, metavar="DATABASE", help="novel: not in it (default: training set)")
    add("--pick", choices=["first", "random"], default="first", help="crystals of each file")
    add(
        "--validity", choices=["structure", "cdvae"], default="structure",
        help="crystals that are relaxed and count: all with a valid structure (default), or those "
        "that are charge-neutral by SMACT too",
    )  # fmt: skip
    add("--interval", nargs=2, type=finite, metavar=("LEAST", "MOST"), help="values on target")
    add("--fmax", type=positive, default=0.05, help="largest force at the end, eV/A")
    add("--smax", type=positive, default=0.4, help="largest stress at the end, GPa")
    add("--no-cell", action="store_true", help="keep the cell")
    add("--judge-device", default="cpu", help="device of the potentials (default: cpu)")
    add("--workers", type=whole, help="processes of the relaxations (default: all cores)")
    add("--shard", metavar="K/N", help="relax part K of N into the cache, and end")
    add("--sample-only", action="store_true", help="draw the models' crystals, and end")


def run(args: argparse.Namespace, settings: Settings, say: Callable[[str], None]) -> Results | None:
    """Run the leaderboard; None where only a part was to be done."""
    from pyg_crysdiff.benchmark.sun import run_sun  # noqa: PLC0415
    from pyg_crysdiff.benchmark.sun_settings import SunSettings  # noqa: PLC0415
    from pyg_crysdiff.relaxation import RelaxSettings, kept_folder  # noqa: PLC0415

    steps = RelaxSettings().steps if args.relax_steps is None else args.relax_steps
    chosen = SunSettings(
        judges=tuple(args.judge or ("chgnet", "sevennet")),
        hulls=dict(named(args.hull)),
        relax=RelaxSettings(steps, args.fmax, args.smax, not args.no_cell),
        lowest=args.lowest,
        pick=args.pick,
        validity=args.validity,
        interval=None if args.interval is None else (args.interval[0], args.interval[1]),
        database=args.known,
        shard=None if args.shard is None else parse_shard(args.shard),
        cache_dir=kept_folder(),
        num_workers=args.workers,
        device=device_of(args.judge_device),
    )
    return run_sun(settings, chosen, say, sample_only=args.sample_only)
