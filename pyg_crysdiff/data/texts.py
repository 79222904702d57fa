"""Bytes of a text file to text, whatever program wrote it; lines that end where an editor's do."""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path
from typing import TextIO

from pyg_crysdiff.data.archives import open_unpacked

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 2**20  # bytes
_AS_LATIN = "crysdiff-latin"
# What Python's ``splitlines`` takes for the end of a line, and no format of crystals does.
_NO_LINE_ENDS = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def decode(data: bytes, name: str) -> str:
    """Return the text of a file, with a line feed at the end of every line.

    A byte order mark decides (UTF-8, UTF-16, UTF-32); without one UTF-8 is tried, then UTF-16 where
    every second byte is zero, then Windows-1252 and Latin-1, which read anything.

    Args:
        data: Content of the file.
        name: The file, for the message.

    Raises:
        ValueError: If it is no text, or not in the encoding that its mark says.
    """
    encoding = next((found for mark, found in _MARKS if data.startswith(mark)), None)
    encoding = encoding or _without_mark(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} begins as {encoding.upper()}, but is not in that encoding ({error}); save it "
            "as UTF-8"
        ) from error
    if "\x00" in text:
        raise ValueError(f"{name} is no text: it holds zero bytes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def open_text(path: Path) -> TextIO:
    """Open a text file, perhaps packed, to be read line by line.

    The encoding is found in the first megabyte, as :func:`decode` finds it in the whole file. Bytes
    further on that are not in that encoding are read as Latin-1.

    Raises:
        ValueError: If it is damaged, or no text.
    """
    raw = open_unpacked(path)
    try:
        start = raw.peek(_SAMPLE)[:_SAMPLE]
        encoding = next((found for mark, found in _MARKS if start.startswith(mark)), None)
        encoding = encoding or _without_mark(start[: len(start) // 2 * 2], cut=True)
        text = io.TextIOWrapper(raw, encoding=encoding, errors=_AS_LATIN)
        if "\x00" in start.decode(encoding, errors=_AS_LATIN):
            raise ValueError(f"{path} is no text: it holds zero bytes")
    except BaseException:
        raw.close()
        raise
    return text


def _as_latin(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_AS_LATIN, _as_latin)


def _without_mark(data: bytes, cut: bool = False) -> str:
    """Guess an encoding; ``cut`` where the bytes may end within a sign."""
    half = len(data) // 2
    if half and half == len(data) - half:
        for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if data[first::2].count(0) > 0.9 * half:
                return encoding
    for encoding in ("utf-8", "cp1252"):
        try:
            codecs.getincrementaldecoder(encoding)().decode(data, final=not cut)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def lines_of(text: str) -> list[str]:
    """Cut at line feeds alone; the other signs that Python takes for line ends become spaces."""
    lines = _NO_LINE_ENDS.sub(" ", text).split("\n")
    return lines[:-1] if lines and not lines[-1] else lines
