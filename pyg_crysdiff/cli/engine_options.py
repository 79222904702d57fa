"""The option that says where work on many items is done, the same for all commands that have it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from pyg_crysdiff.cli.ending import say


def add_engine_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--engine``."""
    parser.add_argument_group("engine").add_argument(
        "--engine", type=_engine, metavar="ENGINE",
        help="where work on many items is done: serial; processes or processes:4, of this "
        "machine; dask or dask:4, a Dask cluster of this machine with a dashboard; "
        "tcp://HOST:8786, a Dask scheduler that runs, also by its JSON file (default: processes)",
    )  # fmt: skip


@contextmanager
def engine_of(args: argparse.Namespace) -> Iterator[None]:
    """Put the engine of the options in charge, and say which it is.

    ``--workers``, where a command has it, is the number of processes or of Dask's local workers.
    """
    spec = getattr(args, "engine", None)
    if spec is None:
        yield
        return
    from pyg_crysdiff.engine import using_engine  # noqa: PLC0415

    if spec in ("processes", "dask") and getattr(args, "workers", None):
        spec = f"{spec}:{args.workers}"
    with using_engine(spec) as engine:
        say(f"engine: {engine}")
        yield


def _engine(text: str) -> str:
    from pyg_crysdiff.engine.current import check_spec  # noqa: PLC0415

    try:
        check_spec(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
