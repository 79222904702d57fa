"""``crysdiff``: from training and sampling to scoring; each command imports what it needs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import pyg_crysdiff
from pyg_crysdiff.cli.ending import Parser, ending
from pyg_crysdiff.cli.engine_options import add_engine_option, engine_of
from pyg_crysdiff.foreign_warnings import silence_foreign_warnings
from pyg_crysdiff.openmp import wait_briefly

COMMANDS = {
    "train": "train a generator",
    "sample": "generate crystals from a checkpoint",
    "info": "tell what a checkpoint is and how it is sampled",
    "design": "find crystals with wanted properties by as few evaluations as possible",
    "relax": "relax crystals with a potential",
    "select": "keep the best of many generated crystals",
    "hull": "make a convex hull of known crystals by a potential",
    "evaluate": "score sample files of any model",
    "index": "make a database of known crystals",
    "train-evaluator": "train a property evaluator",
    "export": "write a checkpoint to share",
    "benchmark": "train, sample, score and compare with published methods",
}
_COMPUTING = (
    "train", "sample", "design", "relax", "select", "hull", "evaluate", "index",
    "train-evaluator", "benchmark",
)  # fmt: skip
_WITHOUT_ENGINE = ("train", "train-evaluator")  # Lightning starts their processes


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors of the user's making end with one line and exit code 2."""
    wait_briefly()
    words = sys.argv[1:] if arguments is None else list(arguments)
    with ending("--debug" in words):
        args = _parse(words)
        if args.command in _COMPUTING:
            from pyg_crysdiff.platform import keep_freed_memory  # noqa: PLC0415

            keep_freed_memory()
            silence_foreign_warnings()
        with engine_of(args):
            args.run(args)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="crysdiff",
        description="Diffusion models for the inverse design of crystals.",
        epilog="example: crysdiff train data=demo conditioner=cds budget_minutes=2 --out runs/demo",
    )
    parser.add_argument("--version", action="version", version=pyg_crysdiff.__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        module = import_module(f"pyg_crysdiff.cli.{name.replace('-', '_')}")
        sub = subparsers.add_parser(
            name,
            help=text,
            description=module.__doc__,
            epilog=module.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        if name in _COMPUTING and name not in _WITHOUT_ENGINE:
            add_engine_option(sub)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        sub.shorten_usage()
        sub.set_defaults(run=module.run)
    args, rest = parser.parse_known_args(words)
    # argparse takes positional arguments of a subcommand from one place only; overrides may stand
    # before and after options.
    late = [word for word in rest if "=" in word and not word.startswith("-")]
    if late != rest or (rest and args.command != "train"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if late:
        args.overrides = [*args.overrides, *late]
    return args
