"""What was made once is not made again: results by their key, folders by their record."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pyg_crysdiff.storage.reading import read_record
from pyg_crysdiff.storage.writing import write_json

T = TypeVar("T")
_LONGEST = 60  # characters of a value in a message


def differences(was: Any, now: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the values that differ in nested plain settings, before and now, by dotted name."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        return {
            inner: pair
            for key in sorted({*was, *now})
            for inner, pair in differences(
                was.get(key), now.get(key), f"{name}.{key}" if name else key
            ).items()
        }
    return {} if was == now else {name: (was, now)}


def in_words(apart: Mapping[str, tuple[Any, Any]]) -> str:
    """Return what :func:`differences` found as text for a message."""
    return "; ".join(
        f"{name}: {_short(was)} before, {_short(now)} now" for name, (was, now) in apart.items()
    )


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def check_same(
    path: str | Path,
    now: Mapping[str, Any],
    *,
    what: str,
    free: Sequence[str] = (),
    older: Mapping[str, Any] | None = None,
) -> None:
    """Check that a folder's record fits what is to be done there, and write it if there is none.

    Args:
        path: JSON file with the record, one object.
        now: What is to be done; JSON-able.
        what: What the folder holds, for the message: "samples of another request".
        free: Fields that may differ.
        older: What fields were before records had them, by their dotted name, where the table that
            they belong to is there; None where a field is not named.

    Raises:
        ValueError: If a field differs (the message names it, with both values), or the file is
            damaged.
    """
    path, current = Path(path), json.loads(json.dumps(now))
    if not path.is_file():
        write_json(path, current)
        return
    before = read_record(path)
    was, now = (_filled(fields, older or {}) for fields in (before, current))
    was, now = ({k: v for k, v in fields.items() if k not in free} for fields in (was, now))
    if apart := differences(was, now):
        raise ValueError(
            f"{path.parent} holds {what} (different: {in_words(apart)}); choose another output "
            "folder or delete this one"
        )
    if before != current:
        write_json(path, current)


def _filled(fields: Mapping[str, Any], older: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with what those that are missing were before there was a choice."""
    out = copy.deepcopy(dict(fields))
    for name, value in older.items():
        *tables, key = name.split(".")
        table: Any = out
        for inner in tables:
            table = table.get(inner) if isinstance(table, dict) else None
        if isinstance(table, dict) and (table or not tables):
            table.setdefault(key, value)
    return out


def whole(path: str | Path, read: Callable[[Path], T]) -> T | None:
    """Return what ``read`` makes of a file; None where there is none, or ``read`` cannot use it.

    Args:
        path: File.
        read: Raises any exception for content that is damaged or was made from something else.
    """
    path = Path(path)
    if not path.is_file():
        return None
    try:
        return read(path)
    except MemoryError:
        raise
    except Exception:  # NumPy, zip and JSON raise whatever they meet in damaged bytes
        return None


def kept(
    path: str | Path,
    read: Callable[[Path], T],
    make: Callable[[], T],
    write: Callable[[Path, T], None],
) -> T:
    """Return what a file holds, or make it and keep it there for the next time.

    Args:
        path: File.
        read: See :func:`whole`.
        make: Called where nothing usable is there.
        write: Writes what was made.
    """
    found = whole(path, read)
    if found is None:
        found = make()
        write(Path(path), found)
    return found


def read_keyed(path: str | Path, key: str) -> dict[str, Any]:
    """Read a JSON object that was written for the same ``key``, which it holds as ``key``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or was written for something else.
    """
    record = read_record(path)
    if record.get("key") != key:
        raise ValueError(f"{path} was made from something else")
    return record
