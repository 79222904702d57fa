"""Samples on disk: written batch by batch, resumable, in one order in every format."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.writers import crystal_to_cif, crystals_to_extxyz, save_cdvae
from pyg_crysdiff.storage import (
    check_same,
    facts_digest,
    only_writer,
    read_json,
    replacing,
    write_from,
    write_text,
)

log = logging.getLogger(__name__)
_FORMAT = 2  # 1: parts without checksum, cells as the model left them
_SHARD_LOCK = "-shard-"


class SampleStore:
    """A folder with the samples of one request.

    ``parts/`` holds the exact double-precision arrays of each batch, from which an interrupted
    run goes on. Each carries a checksum over its arrays, the indices of its crystals and the
    request. From the parts come the files for people: ``samples.extxyz`` (with provenance per
    structure) and ``cif/00000.cif`` and so on grow by every batch; the CDVAE-type ``samples.pt``
    is written at the end of a run, and is absent while a batch is missing that it could hold.

    Args:
        folder: Output folder.
        request: Everything that decides what is generated; JSON-able.

    Raises:
        ValueError: If the folder holds samples of another request or of an earlier version, or
            its record is damaged.
    """

    def __init__(self, folder: str | Path, request: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._parts = self.folder / "parts"
        self._parts.mkdir(parents=True, exist_ok=True)
        now = {"format": _FORMAT, **request}
        self._request = facts_digest(now)
        self._frames_end = 0
        self._check(self.folder / "request.json", now)

    def _check(self, path: Path, now: Mapping[str, Any]) -> None:
        try:
            before = read_json(path) if path.is_file() else now
        except ValueError:
            # Parts of another request must not be overwritten because the record is lost.
            if not self._owns_parts():
                raise
            log.warning("%s is damaged; it is written again, as all parts fit the request", path)
            path.unlink()
            before = now
        if isinstance(before, dict) and before.get("format", 1) != _FORMAT:
            raise ValueError(
                f"{self.folder} holds samples of another version of pyg_crysdiff, to which these "
                "cannot be added; choose another output folder or delete this one"
            )
        check_same(path, now, what="samples of another request")

    @staticmethod
    def batches(folder: str | Path, num_samples: int) -> list[int] | None:
        """Return the batch sizes of the samples in a folder; None where it holds none.

        A run that goes on, or another shard of it, cuts the samples as the first one did, also on
        a machine with another amount of memory.
        """
        try:
            lengths = [int(n) for n in read_json(Path(folder) / "request.json")["batches"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return lengths if sum(lengths) == num_samples and min(lengths) > 0 else None

    def read(self, batch: int, indices: Sequence[int]) -> list[Crystal] | None:
        """Return a finished batch, or None where it is to be generated.

        A part that is damaged, or holds other crystals, is none: a warning says so.

        Args:
            batch: Number of the batch.
            indices: Indices of its crystals.
        """
        path = self._part(batch)
        if not path.is_file():
            return None
        try:
            arrays, said = _load(path)
        except (SafetensorError, ValueError):
            arrays, said = {}, {}
        if not arrays or said.get("checksum") != self._checksum(arrays, indices):
            log.warning("%s is damaged or of other crystals; it is generated again", path)
            return None
        cuts = np.cumsum(arrays["num_atoms"])[:-1]
        return [
            Crystal(lattice, frac, numbers, info)
            for lattice, frac, numbers, info in zip(
                arrays["lattice"],
                np.split(arrays["frac_coords"], cuts),
                np.split(arrays["atomic_numbers"], cuts),
                json.loads(bytes(arrays["info"]).decode()),
                strict=True,
            )
        ]

    def write(self, batch: int, indices: Sequence[int], crystals: Sequence[Crystal]) -> None:
        """Keep a finished batch; the file appears whole or not at all."""
        (self.folder / "samples.pt").unlink(missing_ok=True)
        infos = json.dumps([c.info for c in crystals]).encode()
        arrays = {
            # Stacked in rows, whatever the order of each: safetensors writes memory as it lies.
            "lattice": np.ascontiguousarray(np.stack([c.lattice for c in crystals])),
            "frac_coords": np.concatenate([c.frac_coords for c in crystals]),
            "atomic_numbers": np.concatenate([c.atomic_numbers for c in crystals]),
            "num_atoms": np.array([len(c) for c in crystals]),
            "info": np.frombuffer(infos, dtype=np.uint8),
        }
        said = {"request": self._request, "checksum": self._checksum(arrays, indices)}
        with replacing(self._part(batch)) as temporary:
            save_file(arrays, temporary, metadata=said)

    def export(self, batch: int, indices: Sequence[int], crystals: Sequence[Crystal]) -> None:
        """Bring the growing files up to date; batches come in their order, from the first on.

        What a finished batch has left there is not written again.
        """
        frames = crystals_to_extxyz(crystals).encode()
        self._frames_end = write_from(self.folder / "samples.extxyz", self._frames_end, frames)
        made = self._part(batch).stat().st_mtime_ns
        for index, crystal in zip(indices, crystals, strict=True):
            path = self.folder / "cif" / f"{index:05d}.cif"
            if _is_newer(path, made):
                continue
            write_text(path, crystal_to_cif(crystal), flush=False)

    def finish(self, crystals: Sequence[Crystal], complete: bool) -> None:
        """Write what is written once, at the end of a run or where it is interrupted.

        Args:
            crystals: All crystals so far.
            complete: Whether these are all that were asked for.
        """
        if complete:
            with (self.folder / "samples.extxyz").open("r+b") as frames:
                if frames.seek(0, os.SEEK_END) > self._frames_end:
                    frames.truncate(self._frames_end)
                os.fsync(frames.fileno())
        tensors = self.folder / "samples.pt"
        if complete or (crystals and not tensors.exists()):
            save_cdvae(crystals, tensors)

    def _part(self, batch: int) -> Path:
        return self._parts / f"{batch:05d}.safetensors"

    def _owns_parts(self) -> bool:
        """Whether no part that can be read is of another request."""
        for path in self._parts.glob("*.safetensors"):
            try:
                _, said = _load(path)
            except (SafetensorError, ValueError):
                continue
            if said.get("request") != self._request:
                return False
        return True

    def _checksum(self, arrays: Mapping[str, NDArray[Any]], indices: Sequence[int]) -> str:
        return facts_digest([self._request, list(indices)], _contents(arrays))


def _contents(arrays: Mapping[str, NDArray[Any]]) -> Iterator[str | bytes]:
    for name in sorted(arrays):
        array = arrays[name]
        yield f"{name} {array.dtype} {array.shape}"
        yield np.ascontiguousarray(array).tobytes()


@contextmanager
def sole_writer(folder: str | Path, shard: tuple[int, int] | None = None) -> Iterator[None]:
    """Hold the right to write samples into a folder.

    Shards share the folder, each only with the others; the run that collects them waits for none:
    it is refused while one is at work.

    Args:
        folder: Output folder.
        shard: (k, n) of :func:`pyg_crysdiff.sampling.sample`.

    Raises:
        ValueError: If another process holds it.
    """
    if shard is not None:
        with only_writer(folder, name=f"{_SHARD_LOCK}{shard[0]}-of-{shard[1]}"):
            yield
        return
    with ExitStack() as held:
        held.enter_context(only_writer(folder))
        for lock in sorted(Path(folder).glob(f".lock{_SHARD_LOCK}*")):
            held.enter_context(only_writer(folder, name=lock.name.removeprefix(".lock")))
        yield


def _load(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read the arrays of a part, and what it says of itself."""
    with safe_open(path, framework="np") as handle:
        arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        return arrays, handle.metadata() or {}


def _is_newer(path: Path, time_ns: int) -> bool:
    """Whether a file is there, holds anything and was written no earlier than at this time."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return False
    return facts.st_size > 0 and facts.st_mtime_ns >= time_ns
