"""Files that grow line by line; a kill in the middle of a line costs that line alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyg_crysdiff.storage.writing import append_text, write_text


def whole_lines(path: str | Path) -> list[str]:
    """Return the lines of a UTF-8 file without their ends; none where there is no file.

    What stands behind the last line end was cut off by an interruption and is left out.
    """
    path = Path(path)
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return text[: text.rfind("\n") + 1].splitlines()


class JsonLines:
    """A file with one JSON value per line, to which finished results are added.

    Args:
        path: File; its folder is made if need be.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self) -> list[Any]:
        """Return the values; lines that are damaged or cut off are left out."""
        values = []
        for line in whole_lines(self.path):
            with suppress(ValueError, RecursionError):
                values.append(json.loads(line))
        return values

    def add(self, values: Iterable[Any]) -> None:
        """Add values; a line that was cut off before them does not swallow the first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_text(self.path, "\n" * self._torn() + _lines(values))

    def replace(self, values: Iterable[Any]) -> None:
        """Write the file anew with these values, whole or not at all."""
        write_text(self.path, _lines(values))

    def _torn(self) -> bool:
        if not (self.path.is_file() and self.path.stat().st_size):
            return False
        with self.path.open("rb") as handle:
            handle.seek(-1, os.SEEK_END)
            return handle.read(1) != b"\n"


def _lines(values: Iterable[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)
