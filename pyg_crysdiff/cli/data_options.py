"""Options that say where data come from, shared by the commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Declare ``--data-root`` and ``--split`` in a group of their own."""
    add = parser.add_argument_group("published data sets").add_argument
    add("--data-root", type=Path, help="folder that already holds the files")
    add(
        "--split", choices=["official", "val-as-train"],
        help="official files, or the official val file as train and val (default: official)",
    )  # fmt: skip


def data_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of ``load_dataset`` that were given."""
    options = {"source": args.data_root, "scheme": args.split}
    return {name: value for name, value in options.items() if value is not None}
