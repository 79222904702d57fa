"""Callbacks: averaged weights, the last checkpoint, the share of the run that is done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, Timer, WeightAveraging
from torch import Tensor

from pyg_crysdiff.training.checkpoints import LAST, MetricsFile


def warmed_ema(decay: float) -> WeightAveraging:
    """Return the exponential moving average of the weights with a gradual start.

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that short runs do not keep
    the random initial weights. Validation and checkpoints use the average.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        n = float(count)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(list(averaged), list(current), weight)

    return WeightAveraging(use_buffers=False, multi_avg_fn=update)


class SaveLast(Checkpoint):
    """Write ``last.ckpt`` every few epochs and at the end of training.

    Checkpoints are written at epoch ends only, where a resumed run continues exactly. A run that
    goes on from one lets its metrics go on there too.

    Args:
        folder: Where to write.
        every: Epochs between checkpoints.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.path = folder / LAST
        self.every = every

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where an interval, the epochs or the time budget ends."""
        del pl_module
        done = trainer.current_epoch + 1
        if done % self.every == 0 or done == trainer.max_epochs or trainer.should_stop:
            trainer.save_checkpoint(self.path)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Tell the metrics where the run goes on."""
        del pl_module
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.go_on(checkpoint["global_step"])


class Budget(Timer):
    """Stop at an epoch's end once the time is used up; tells the finished share of the run.

    The elapsed time is kept in checkpoints, so that a resumed run gets what is left.

    Args:
        max_epochs: Epochs of the run.
        minutes: Wall time of the training; None for no limit.
    """

    def __init__(self, max_epochs: int, minutes: float | None) -> None:
        limit = None if minutes is None else timedelta(minutes=minutes)
        super().__init__(duration=limit, interval="epoch", verbose=False)
        self.max_epochs = max_epochs
        self._minutes = minutes
        self._epoch = 0.0
        self._share = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Note how far the run is, by epochs or by time, by the clock of the first process."""
        del pl_module, batch
        self._epoch = trainer.current_epoch + batch_idx / max(1, trainer.num_training_batches)
        share = self._epoch / self.max_epochs
        if self._minutes is not None:
            share = max(share, self.time_elapsed() / (60 * self._minutes))
        self._share = trainer.strategy.broadcast(min(1.0, share))

    def progress(self) -> float:
        """Return the finished share of the run, 0 to 1."""
        return self._share
