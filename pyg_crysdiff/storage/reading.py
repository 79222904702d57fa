"""Reading files: a clear error, and nothing in them is executed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged; the message names it.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        size = path.stat().st_size
        raise ValueError(
            f"{path} is damaged ({size} bytes, not valid JSON: {error}); delete it or copy it again"
        ) from error


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds one object; errors are those of :func:`read_json`."""
    record = read_json(path)
    if not isinstance(record, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object; delete it or copy it again")
    return record


@contextmanager
def load_arrays(path: str | Path) -> Iterator[NpzFile]:
    """Open the arrays of an ``.npz`` file; nothing in it is executed.

    The file is closed in any case: of one that it cannot read, NumPy leaves it open.
    """
    with Path(path).open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
        yield arrays
