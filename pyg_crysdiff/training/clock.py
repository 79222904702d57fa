"""The time that a process works, without the time for which it was stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BEAT = 1.0  # seconds
_PAUSE = 10.0


class WorkingClock:
    """Counts wall time from :meth:`start` to :meth:`stop`, but not while the process is stopped.

    A stopped process (SIGSTOP, a frozen container, a suspended laptop) runs none of its threads,
    however long its steps take otherwise. A thread looks at the clock every ``beat`` seconds; where
    it comes to it more than ``pause`` seconds late, the process was stopped in between. Shorter
    stops count as work.

    Args:
        beat: Seconds between two looks at the clock.
        pause: Seconds from which on the time between two looks was a pause.
        now: The clock, in seconds.
    """

    def __init__(
        self, beat: float = _BEAT, pause: float = _PAUSE, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._beat, self._pause, self._now = beat, pause, now
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._worked, self._seen = 0.0, 0.0

    def __deepcopy__(self, memo: object) -> WorkingClock:
        """Return the clock itself: copies of a model look at the same one."""
        return self

    def start(self) -> None:
        """Begin, or go on, to count."""
        self.stop()
        self._seen = self._now()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(self._end,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Count no further."""
        if self._thread is not None:
            self.look()
            self._end.set()
            self._thread.join()
            self._thread = None

    def seconds(self) -> float:
        """Return the seconds of work so far."""
        if self._thread is not None:
            self.look()
        return self._worked

    def look(self) -> None:
        """Count the time since the last look, unless it was a pause."""
        with self._lock:
            now = self._now()
            passed = now - self._seen
            self._seen = now
            self._worked += self._beat if passed > self._pause else passed

    def _watch(self, end: threading.Event) -> None:
        while not end.wait(self._beat):
            self.look()
