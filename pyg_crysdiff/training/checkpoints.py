"""What a training keeps on disk: checkpoints, of which one is always whole, and metrics."""

from __future__ import annotations

import csv
import io
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from pyg_crysdiff.errors import first_line
from pyg_crysdiff.storage import append_text, replacing, whole_lines, write_text
from pyg_crysdiff.training.divergence import refuse_non_finite

log = logging.getLogger(__name__)
LAST, PREVIOUS, METRICS = "last.ckpt", "previous.ckpt", "metrics.csv"


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all; the one before stays as ``previous.ckpt``.

    Lightning's own are written to the system's temporary folder and moved, which on another file
    system is a copy that a kill or a full disk leaves torn.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,
    ) -> None:
        """Write a checkpoint.

        Raises:
            TrainingDivergedError: If a weight is not finite; nothing is written then.
            OSError: If there is no room; the checkpoints that there are stay.
        """
        del storage_options
        refuse_non_finite(checkpoint)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
            _keep_previous(Path(path))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            ValueError: If the file is no checkpoint of a training; the message names it.
        """
        try:
            content = super().load_checkpoint(path, map_location, weights_only)
            return {**content, "state_dict": content["state_dict"]}
        except Exception as error:  # the unpickler raises whatever it meets
            raise ValueError(
                f"{path} is no checkpoint that a training can go on from ({first_line(error)}); "
                "delete it, or choose another output folder"
            ) from error


def _keep_previous(path: Path) -> None:
    """Give a checkpoint that is about to be replaced a second name; it never lacks the first."""
    if not path.is_file():
        return
    with replacing(path.with_name(PREVIOUS)) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)


def damage(path: Path) -> str | None:
    """Say what is wrong with the bytes of a checkpoint; None where all are as written.

    PyTorch itself finds a truncated file, but not a flipped bit: it checks no sums.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except Exception as error:  # zipfile raises whatever it meets in damaged bytes
        return f"{path.stat().st_size} bytes, {error}"
    return None if part is None else f"wrong checksum of {part}"


def resumable(folder: Path) -> Path | None:
    """Return the checkpoint that a run goes on from; None where there is none.

    Where ``last.ckpt`` is damaged or missing, ``previous.ckpt`` takes its place, with a warning.

    Raises:
        ValueError: If there are only damaged ones.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    faults = {path: damage(path) for path in (last, previous) if path.is_file()}
    if last in faults and faults[last] is None:
        return last
    if previous in faults and faults[previous] is None:
        fault = faults.get(last, "missing")
        log.warning("%s is damaged (%s); going on from %s", last, fault, PREVIOUS)
        with replacing(last) as temporary:
            shutil.copyfile(previous, temporary)
        return last
    if faults:
        told = "; ".join(f"{path} is damaged ({fault})" for path, fault in faults.items())
        raise ValueError(f"{told}; copy a whole one there, or delete both to begin anew")
    return None


def epochs_done(folder: Path) -> int:
    """Return how many epochs the checkpoint has that a run goes on from; 0 where there is none.

    Nothing on disk is changed.

    Raises:
        ValueError: If the file is no checkpoint of a training.
    """
    for path in (folder / LAST, folder / PREVIOUS):
        if path.is_file() and damage(path) is None:
            content = WholeCheckpoints().load_checkpoint(path, weights_only=True)
            return int(content["epoch"]) + 1
    return 0


class MetricsFile(Logger):
    """``metrics.csv``: a row for every set of values, on disk as soon as it is known.

    A run that goes on keeps the rows up to its checkpoint, so that the file is that of a run
    without interruption.

    Args:
        folder: Folder of the run.
        so_far: Returns values that every row gets besides.
    """

    def __init__(self, folder: Path, so_far: Callable[[], Mapping[str, float]] = dict) -> None:
        super().__init__()
        self.path = folder / METRICS
        self._so_far = so_far
        self._columns: list[str] | None = None
        self._first_step = 0

    @property
    def name(self) -> str:
        """No name: a run has a folder of its own."""
        return ""

    @property
    def version(self) -> str:
        """No version: see :attr:`name`."""
        return ""

    def go_on(self, step: int) -> None:
        """Keep the rows of the steps before this one, instead of beginning a new file."""
        self._first_step = step

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: they stand in ``config.json``."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row."""
        row = {**self._so_far(), **metrics, "step": step}
        if self._columns is not None and set(row) <= set(self._columns):
            append_text(self.path, _csv(self._columns, [row]))
            return
        rows = self._rows()
        if self._columns is None:
            rows = [r for r in rows if int(r["step"]) < self._first_step]
        self._columns = sorted({column for r in (*rows, row) for column in r if column})
        header = dict(zip(self._columns, self._columns, strict=True))
        write_text(self.path, _csv(self._columns, [header, *rows, row]))

    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows on disk that are whole."""
        rows = csv.DictReader(whole_lines(self.path))
        return [row for row in rows if (row.get("step") or "").isdecimal()]


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, columns, extrasaction="ignore").writerows(rows)
    return text.getvalue()
