"""What a person sees while something runs: a bar on a terminal, now and then a line in a log file.

Everything in this package that shows progress does so through :func:`bar`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, TextIO

from tqdm import tqdm

FIRST, LONGEST = 10.0, 300.0  # seconds until the first line, and at most between two
_SLOWER = 1.5  # each pause is longer than the one before by this factor
_COUNTS = "{desc}: {n_fmt} of {total_fmt} {unit} ({percentage:.0f} %)"
_ALL = "{desc}: {n_fmt} {unit}"  # also where nobody knows how many there are
_SHARE = "{desc}: {percentage:.0f} %{postfix}"
_PACE, _SO_FAR, _LEFT = ", {pace}", ", {elapsed} so far", ", {remaining} left"
_BAR = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"  # without counts


def bar(
    items: Iterable[Any] | None = None,
    *,
    label: str,
    show: bool = True,
    total: float | None = None,
    leave: bool = False,
    counts: bool = True,
    **options: Any,
) -> tqdm[Any]:
    """Return tqdm's progress bar, which writes lines where nobody sees a bar.

    That is where standard error is a file or a pipe, as under Slurm and in CI. There a line with
    counts, rate and time left appears after ten seconds, and then less and less often. Rate and
    time left are those of the items after the first update, which may have waited for a kernel to
    be compiled or for workers to start; before the second there is no estimate.

    Args:
        items: What is iterated over; None where :meth:`tqdm.tqdm.update` is called.
        label: What is being done.
        show: Whether to show anything.
        total: Number of items, where ``items`` does not tell.
        leave: Leave the finished bar on the terminal.
        counts: Show the number of items; without, the share that is done and tqdm's ``postfix``.
        **options: Further arguments of tqdm.
    """
    options |= {"desc": label, "total": total, "disable": not show, "leave": leave}
    if not _drawn_over(sys.stderr):
        return _Lines(items, counts=counts, **{"unit": "items", **options})
    if not counts:
        options["bar_format"] = _BAR
    return tqdm(items, **options)


def _drawn_over(stream: TextIO | None) -> bool:
    """Whether a line can be drawn over another: on a terminal and in a notebook."""
    return "ipykernel" in sys.modules or bool(stream is not None and stream.isatty())


class _Lines(tqdm):
    """A tqdm that writes a line every some seconds, instead of drawing over the one before."""

    def __init__(self, items: Any, *, counts: bool, **options: Any) -> None:
        self._shown, self._counts = False, counts
        self._first: tuple[float, float] | None = None  # items and seconds at the first update
        # With a fixed miniters tqdm looks at the clock at every update, and from no other thread.
        clock: dict[str, Any] = {
            "mininterval": FIRST, "delay": FIRST, "miniters": 0, "smoothing": 0,
        }  # fmt: skip
        super().__init__(items, bar_format=_COUNTS, **{**options, **clock})

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """Return the function that writes a line."""

        def write(text: str) -> None:
            file.write(" ".join(text.split()) + "\n")  # tqdm fills up with spaces
            file.flush()

        return write

    @property
    def format_dict(self) -> MutableMapping[str, Any]:
        """What a line may say; tqdm's, and ``pace``, the items per second or minute."""
        found = super().format_dict
        if self.disable:
            return found
        found["rate"] = self._rate(found["elapsed"])
        pace, per = found["rate"] or 0.0, "s"
        if pace < 1:
            pace, per = 60 * pace, "min"
        found["pace"] = f"{pace:.3g} {self.unit}/{per}"
        return found

    def _rate(self, elapsed: float) -> float | None:
        """Items per second after the first update; None where there are none yet."""
        if self._first is None or self.n <= self._first[0]:
            return None
        return (self.n - self._first[0]) / max(elapsed - self._first[1], 1e-9)

    def update(self, n: float | None = 1) -> bool | None:
        """Count further items."""
        if self._first is None and n and not self.disable:
            now = self._time()  # type: ignore[attr-defined]
            self._first = self.n + n, now - self.start_t
        return super().update(n)

    def __iter__(self) -> Iterator[Any]:
        """Iterate; tqdm's own loop takes the pause between two lines for a constant."""
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line, and wait longer for the next."""
        del pos  # a line belongs to no place on the screen
        done = self.total is not None and self.n >= self.total
        known = self.format_dict["rate"] is not None
        pace = _PACE if known and self._counts else ""
        if self._counts and self.total is None:
            self.bar_format = _ALL + pace + _SO_FAR
        elif done:
            self.bar_format = _ALL + " in {elapsed}" if self._counts else _SHARE + ", in {elapsed}"
        else:
            begun = _COUNTS + pace if self._counts else _SHARE
            self.bar_format = begun + _SO_FAR + (_LEFT if known else "")
        self.sp(str(self) if msg is None else msg)
        self._shown = True
        self.mininterval = min(LONGEST, self.mininterval * _SLOWER)

    def close(self) -> None:
        """Write the last line where there were others."""
        if not self.disable and self._shown and self.n != self.last_print_n:
            self.display()
        self.delay = math.inf  # what tqdm does to a bar on the screen is then left out
        super().close()
