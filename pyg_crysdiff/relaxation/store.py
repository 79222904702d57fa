"""Results of relaxations on disk: a folder per judge and settings, a file per writer."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pyg_crysdiff.platform import cache_folder
from pyg_crysdiff.relaxation.judges import Judge
from pyg_crysdiff.relaxation.records import Relaxation, RelaxSettings
from pyg_crysdiff.storage import JsonLines, facts_digest, file_name


def kept_folder() -> Path:
    """Return the folder in which commands keep relaxations, below ``CRYSDIFF_CACHE``."""
    return cache_folder() / "relaxations"


class RelaxationStore:
    """Finished relaxations, found by the content of the crystal that was relaxed.

    Every writer adds lines to a file of its own, so that several processes and machines may share
    a folder; all files are read.

    Args:
        folder: Folder of all relaxations; None keeps nothing.
        judge: Potential.
        settings: Settings; results of others lie in other folders.
    """

    def __init__(self, folder: Path | None, judge: Judge, settings: RelaxSettings) -> None:
        self.folder: Path | None = None
        self._file: JsonLines | None = None
        if folder is not None:
            key = facts_digest({"judge": judge.identity, "settings": settings.key})
            kind = "energies" if settings.steps == 0 else "relaxations"
            self.folder = Path(folder) / f"{kind}-{file_name(judge.title)}-{key[:12]}"
            name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}.jsonl"
            self._file = JsonLines(self.folder / name)

    def read(self) -> dict[str, Relaxation]:
        """Return what is there, by the crystals' digests; damaged lines are left out."""
        found: dict[str, Relaxation] = {}
        if self.folder is None or not self.folder.is_dir():
            return found
        for file in sorted(self.folder.glob("*.jsonl")):
            for value in JsonLines(file).read():
                with suppress(ValueError, TypeError, KeyError):
                    found[value["key"]] = Relaxation.from_dict(value["relaxation"])
        return found

    def add(self, results: Mapping[str, Relaxation]) -> None:
        """Add results by the crystals' digests."""
        if self._file is not None:
            self._file.add(
                {"key": key, "relaxation": record.to_dict()} for key, record in results.items()
            )
