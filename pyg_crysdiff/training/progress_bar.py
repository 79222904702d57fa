"""The progress of a training: one bar for the whole run, or lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from pyg_crysdiff.progress import bar

_PAUSE = 0.5  # seconds between two readings of the losses, which a GPU must wait for
_SHOWN = {"loss": "loss", "mae": "mae", "val/total": "validation loss"}


class TrainingBar(ProgressBar):
    """Shows share, epoch, losses, steps per second and the time left.

    As a bar or as lines: see :mod:`pyg_crysdiff.progress`.

    Args:
        share: Returns the finished share of the run, 0 to 1.
    """

    def __init__(self, share: Callable[[], float]) -> None:
        super().__init__()
        self._share = share
        self._enabled = True
        self._bar: tqdm[Any] | None = None
        self._read = 0.0
        self._began = (0.0, 0)

    def disable(self) -> None:
        """Show nothing: this process is not the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress."""
        self._enabled = True

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin where the run begins, or goes on."""
        del pl_module, batch, batch_idx
        if self._bar is None and self._enabled:
            done = 100 * self._share()
            self._bar = bar(label="training", total=100, initial=done, counts=False, leave=True)
            self._began = (time.monotonic(), trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Go on."""
        del pl_module, outputs, batch, batch_idx
        now = time.monotonic()
        if self._bar is not None and now - self._read >= _PAUSE:
            self._read = now
            self._bar.set_postfix_str(self._facts(trainer, now), refresh=False)
            self._bar.update(100 * self._share() - self._bar.n)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how it ended."""
        del pl_module
        if self._bar is not None:
            self._bar.set_postfix_str(self._facts(trainer, time.monotonic()), refresh=False)
            self._bar.update(100 - self._bar.n)
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the line as it is."""
        del trainer, pl_module, exception
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _facts(self, trainer: Trainer, now: float) -> str:
        start, step = self._began
        facts = [f"epoch {min(trainer.current_epoch + 1, trainer.max_epochs or 0)}"]
        losses = trainer.callback_metrics
        for key, name in _SHOWN.items():
            if key in losses:
                facts.append(f"{name} {float(losses[key]):.4g}")
        facts.append(f"{(trainer.global_step - step) / max(now - start, 1e-9):.3g} steps/s")
        return ", ".join(facts)
