"""Downloads that resume and are verified by their git blob id."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock

from pyg_crysdiff.progress import bar

_CHUNK = 1 << 18


def blob_id_of(content: bytes) -> str:
    r"""Return the id that ``git hash-object`` prints: SHA-1 of ``blob SIZE\\0`` and the content."""
    digest = hashlib.sha1(f"blob {len(content)}\0".encode(), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()


def git_blob_id(path: Path) -> str:
    """Return :func:`blob_id_of` of a file."""
    return blob_id_of(path.read_bytes())


def fetch(url: str, path: Path, blob_id: str, timeout: float = 30.0) -> None:
    """Download one file; go on where an earlier attempt stopped; verify it.

    Args:
        url: Address.
        path: Where the file goes; until it is complete and verified it is ``path.part``.
        blob_id: Expected git blob id.
        timeout: Seconds without data after which the attempt fails.

    Raises:
        ConnectionError: If the server cannot be reached or breaks off.
        ValueError: If the complete file is not the expected one.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(part.with_name(part.name + ".lock")):  # one process at a time goes on with it
        if not (path.is_file() and git_blob_id(path) == blob_id):
            _complete(url, path, part, blob_id, timeout)


def _complete(url: str, path: Path, part: Path, blob_id: str, timeout: float) -> None:
    if not (part.is_file() and git_blob_id(part) == blob_id):
        try:
            _append(url, part, timeout)
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise ConnectionError(f"cannot download {url}: {error}") from error
    if (found := git_blob_id(part)) != blob_id:
        part.unlink()
        raise ValueError(f"{url} has git blob id {found}, expected {blob_id}; try again")
    part.replace(path)


def _append(url: str, part: Path, timeout: float) -> None:
    start = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        left = int(answer.headers.get("Content-Length") or 0)
        done = start if resumed else 0
        with (
            part.open("ab" if resumed else "wb") as handle,
            bar(
                label=f"download {part.stem}",
                total=done + left or None,
                leave=True,
                initial=done,
                unit="B",
                unit_scale=True,
            ) as shown,
        ):
            received = 0
            while chunk := answer.read(_CHUNK):
                handle.write(chunk)
                received += len(chunk)
                shown.update(len(chunk))
    if left and received < left:
        raise ConnectionError(f"the connection broke after {done + received} bytes")
