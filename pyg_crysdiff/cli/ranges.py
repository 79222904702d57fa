"""Ranges of whole numbers on the command line."""

from __future__ import annotations

import argparse


def whole_range(text: str) -> tuple[int, int]:
    """Read ``2-3`` as (2, 3) and ``2`` as (2, 2); a type of argparse.

    Raises:
        argparse.ArgumentTypeError: If it is neither.
    """
    low, dash, high = text.partition("-")
    try:
        return int(low), int(high if dash else low)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a number or a range such as 2-3, got {text!r}"
        ) from None
