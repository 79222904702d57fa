"""Train a generator. Every setting of configs/train.yaml can be overridden as KEY=VALUE."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.numbers import positive
from pyg_crysdiff.configuration import config_folder

EXAMPLE = """examples:
  crysdiff train data=demo conditioner=cds budget_minutes=2 --out runs/demo
  crysdiff train data=own data.name=my.csv data.properties=[band_gap] --out runs/mine
  crysdiff train data=carbon24 devices=4 strategy=ddp --out runs/carbon
  crysdiff train --resume runs/demo
  crysdiff train --resume runs/demo budget_minutes=30
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    settings = str(config_folder() / "train.yaml").replace("%", "%%")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE",
        help=f"settings: {settings} has them all, with the files of the folders beside it",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="output folder (default: runs/train)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR")
    parser.add_argument(
        "--stop-after", type=positive, metavar="MINUTES",
        help="leave off after so long, at an epoch's end; the same command goes on then",
    )  # fmt: skip
    parser.add_argument(
        "--trust", action="append", default=[], metavar="PACKAGE",
        help="package of your own that a conditioner or data set may come from",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Train, and say what came out."""
    from pyg_crysdiff.training import fit, resume  # noqa: PLC0415

    options = {"trusted": args.trust, "stop_after": args.stop_after}
    if args.resume is not None:
        if args.out:
            raise ValueError("--resume takes no --out; the run has its own folder")
        result = resume(args.resume, args.overrides, **options)
    else:
        result = fit(args.overrides, args.out or Path("runs") / "train", **options)
    end = "" if result.finished else "; not at its end: the same command goes on"
    say(
        f"{result.checkpoint}: {result.epochs} epochs in {result.seconds / 60:.1f} min, "
        f"{result.num_parameters / 1e6:.2f} M parameters{end}"
    )
