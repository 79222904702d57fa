"""What an exception says, for messages that quote it."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says; its kind where it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
