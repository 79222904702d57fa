"""Reading K/N, the part of a piece of work that several jobs share."""

from __future__ import annotations


def parse_shard(text: str) -> tuple[int, int]:
    """Return (k, n) of ``k/n``.

    Raises:
        ValueError: If the text has another form, or there is no such part.
    """
    part, _, count = text.partition("/")
    try:
        k, n = int(part), int(count)
    except ValueError:
        k, n = 0, 0
    if not 0 <= k < n:
        raise ValueError(f"--shard must look like 0/4, 1/4, ... 3/4, got {text!r}")
    return k, n
