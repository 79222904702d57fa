"""Lists in one argument: names, numbers, and pairs of a name and a file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from pyg_crysdiff.cli.numbers import count, finite


def numbers(text: str) -> tuple[float, ...]:
    """Read numbers with commas between them."""
    return tuple(finite(part) for part in text.split(","))


def names(text: str | None) -> tuple[str, ...] | None:
    """Read names with commas between them; none at all out of an empty text."""
    return None if text is None else tuple(part for part in text.split(",") if part)


def counts(text: str) -> dict[str, int]:
    """Read ``NAME=N`` with commas between them; N alone stands for all names, as ``""``.

    Raises:
        argparse.ArgumentTypeError: If a part is no such number, or a name is given twice.
    """
    out: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.rpartition("=")
        if name in out:
            raise argparse.ArgumentTypeError(f"{name or 'a number for all'} is given twice")
        out[name] = count(number)
    return out


def existing(file: str) -> Path:
    """Return the path of a file or folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not Path(file).exists():
        raise FileNotFoundError(f"nothing at {file}")
    return Path(file)


def named(
    pairs: Sequence[str], find: Callable[[str], Path] = existing
) -> tuple[tuple[str, Path], ...]:
    """Read NAME=FILE, and find the files before anything runs.

    Raises:
        ValueError: If a pair has no name or no file.
        FileNotFoundError: If there is no such file.
    """
    out = []
    for pair in pairs:
        name, sign, file = pair.partition("=")
        if not (name and sign and file):
            raise ValueError(f"expected NAME=FILE, got {pair!r}")
        out.append((name, find(file)))
    return tuple(out)
