"""``crysdiff``: from training and sampling to scoring; each command imports what it needs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

import pyg_crysdiff

COMMANDS = {
    "train": "train a generator",
    "sample": "generate crystals from a checkpoint",
    "select": "keep the best of many generated crystals",
    "evaluate": "score sample files of any model",
    "train-evaluator": "train a property evaluator",
    "export": "write a checkpoint to share",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors of the user's making end with one line and exit code 2."""
    parser = argparse.ArgumentParser(
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
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    args, rest = parser.parse_known_args(arguments)
    # argparse takes positional arguments of a subcommand from one place only; overrides may stand
    # before and after options.
    late = [word for word in rest if "=" in word and not word.startswith("-")]
    if late != rest or (rest and args.command != "train"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if late:
        args.overrides = [*args.overrides, *late]
    try:
        args.run(args)
    except (ValueError, FileNotFoundError, ConnectionError, ModuleNotFoundError) as error:
        if args.debug:
            raise
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "\ninterrupted; the same command goes on from what is on disk\n")
