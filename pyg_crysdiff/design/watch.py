"""How long the parts of a round take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Watch:
    """Counts seconds by the name of a part: ``with watch("draw"): ...``.

    Attributes:
        seconds: Name to seconds so far, to a millisecond.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count what a block takes."""
        start = time.monotonic()
        yield
        passed = time.monotonic() - start
        self.seconds[part] = round(self.seconds.get(part, 0.0) + passed, 3)
