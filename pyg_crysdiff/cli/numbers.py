"""Numbers on the command line, as types of argparse: what makes no sense is refused there."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

N = TypeVar("N", int, float)


def finite(text: str) -> float:
    """Read a finite number."""
    return _number(text, float, lambda x: True, "a finite number")


def positive(text: str) -> float:
    """Read a finite number above 0."""
    return _number(text, float, lambda x: x > 0, "a number above 0")


def not_negative(text: str) -> float:
    """Read a finite number that is 0 or more."""
    return _number(text, float, lambda x: x >= 0, "a number from 0 on")


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    return _number(text, float, lambda x: 0 <= x <= 1, "a number from 0 to 1")


def count(text: str) -> int:
    """Read a whole number from 1 on."""
    return _number(text, int, lambda x: x >= 1, "a whole number from 1 on")


def whole(text: str) -> int:
    """Read a whole number from 0 on."""
    return _number(text, int, lambda x: x >= 0, "a whole number from 0 on")


def seed(text: str) -> int:
    """Read a whole number from 0 to 2^63 - 1."""
    return _number(text, int, lambda x: 0 <= x < 2**63, "a whole number from 0 to 2^63 - 1")


def whole_range(text: str) -> tuple[int, int]:
    """Read ``2-3`` as (2, 3) and ``2`` as (2, 2)."""
    low, dash, high = text.partition("-")
    try:
        ends = int(low), int(high if dash else low)
    except ValueError:
        ends = 0, 0
    if not 1 <= ends[0] <= ends[1]:
        raise argparse.ArgumentTypeError(
            f"must be a number from 1 on or a range such as 2-3, got {text!r}"
        )
    return ends


def _number(text: str, kind: Callable[[str], N], fits: Callable[[N], bool], what: str) -> N:
    try:
        value = kind(text)
        if math.isfinite(value) and fits(value):
            return value
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"must be {what}, got {text!r}")
