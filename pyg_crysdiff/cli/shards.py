"""Reading K/N, the part of a piece of work that several jobs share."""

from __future__ import annotations


def parse_shard(text: str) -> tuple[int, int]:
    """Return (k, n) of ``k/n``.

    Raises:
        ValueError: If the text has another form.
    """
    part, _, count = text.partition("/")
    try:
        return int(part), int(count)
    except ValueError:
        raise ValueError(f"--shard must look like 0/4, got {text!r}") from None
