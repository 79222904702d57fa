"""Make a database of known crystals, add to it, or tell what is in it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pyg_crysdiff.cli.data_options import add_data_options, data_options
from pyg_crysdiff.cli.ending import say
from pyg_crysdiff.cli.numbers import whole

if TYPE_CHECKING:
    from pyg_crysdiff.known import Database

EXAMPLE = """examples:
  crysdiff index mp_20/train.csv mp_20/val.csv mp_20/test.csv --out known.sqlite
  crysdiff index mp20 more.extxyz cifs.zip --data-root DATA --out known.sqlite
  crysdiff index known.sqlite
  crysdiff evaluate samples.extxyz --known known.sqlite

What is in the database already is skipped. After an interruption the same command goes on.
"""
_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add(
        "files", nargs="+", metavar="FILE",
        help="CSV, JSON, extxyz, CIF, .pt, Parquet, zip, tar, folder, data set; or, without --out, "
        "a database to tell about",
    )  # fmt: skip
    add("--out", type=Path, metavar="DATABASE", help="the database, such as known.sqlite; it grows")
    add("--info", action="store_true", help="tell what is in the database, after what is added")
    add("--workers", type=whole, help="processes (default: all cores)")
    add_data_options(parser)


def run(args: argparse.Namespace) -> None:
    """Add the files, or tell what is in the databases.

    Raises:
        ValueError: If there are files to add and no database is named.
    """
    from pyg_crysdiff.known import Database  # noqa: PLC0415
    from pyg_crysdiff.known.sources import is_database  # noqa: PLC0415

    if args.out is None:
        others = [file for file in args.files if not is_database(file)]
        if others and not args.info:
            raise ValueError(
                f"where shall {others[0]} be added? Name the database: --out known.sqlite"
            )
        for file in args.files:
            _tell(Database(file))
        return
    database = Database(args.out, create=True)
    _add(database, args)
    say(f"{database.path}: {len(database):,} crystals")
    if args.info:
        _tell(database)


def _add(database: Database, args: argparse.Namespace) -> None:
    from pyg_crysdiff.known import index_source, open_source  # noqa: PLC0415

    for name in args.files:
        if Path(name).resolve() == database.path.resolve():
            raise ValueError(f"{name} cannot be added to itself")
        for source in open_source(name, **data_options(args)):
            found = index_source(database, source, num_workers=args.workers, progress=True)
            if found is None:
                say(f"{source.name}: added before, skipped")
                continue
            say(
                f"{source.name}: {found.entries:,} entries read: {found.new:,} crystals added, "
                f"{found.present:,} there already, {found.unreadable:,} unreadable"
            )
            if found.unreadable:
                places = islice(database.unreadable(source.name), found.unreadable)
                say(_lines(list(places)))


def _tell(database: Database) -> None:
    """Print what is in a database."""
    facts = database.facts()
    size = database.path.stat().st_size / 2**20
    say(
        f"{database.path}: {facts.crystals:,} crystals of {facts.formulas:,} formulas "
        f"({facts.anonymous:,} anonymous ones), {size:,.1f} MiB"
    )
    if facts.without_key:
        say(f"  {facts.without_key:,} cells cannot be reduced; they match nothing")
    for source in database.sources():
        rest = "" if source.is_whole else "; interrupted: add it again to go on"
        say(
            f"  {source.name or '(from Python)'}: {source.crystals:,} crystals of "
            f"{source.entries:,} entries, {source.unreadable:,} unreadable{rest}"
        )
    if places := list(database.unreadable()):
        say(f"  {len(places):,} entries are unreadable:\n{_lines(places)}")


def _lines(places: Sequence[tuple[str, str]]) -> str:
    """Return the first some of the places, which come last ones first, in lines."""
    lines = [f"    {place}: {reason}" for place, reason in reversed(places)]
    return "\n".join([*lines[:_SHOWN], *(["    ..."] if len(lines) > _SHOWN else [])])
