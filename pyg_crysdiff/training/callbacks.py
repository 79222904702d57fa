"""Callbacks: checkpoints, the share of the run that is done, its time limits."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, Timer
from lightning.pytorch.trainer.states import RunningStage

from pyg_crysdiff.training.checkpoints import LAST, MetricsFile
from pyg_crysdiff.training.clock import WorkingClock
from pyg_crysdiff.training.kept import KeptCheckpoints


class SaveLast(Checkpoint):
    """Write ``last.ckpt`` every few epochs and at the end of training.

    Checkpoints are written at epoch ends only, where a resumed run continues exactly. A run that
    goes on from one lets its metrics go on there too.

    Args:
        folder: Where to write.
        every: Epochs between checkpoints.
        kept: Further checkpoints that stay; None for none.
    """

    def __init__(self, folder: Path, every: int, kept: KeptCheckpoints | None = None) -> None:
        self.path = folder / LAST
        self.every, self.kept = every, kept

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where an interval, the epochs or the time ends."""
        del pl_module
        done = trainer.current_epoch + 1
        due = self.kept is not None and self.kept.due(done)
        if done % self.every == 0 or done == trainer.max_epochs or trainer.should_stop or due:
            trainer.save_checkpoint(self.path)
            self._keep(done, trainer)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Tell the metrics where the run goes on."""
        del pl_module
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.go_on(checkpoint["global_step"])
        # A run that was killed in between has saved this epoch, but not kept it.
        self._keep(checkpoint["epoch"] + 1, trainer)

    def _keep(self, done: int, trainer: Trainer) -> None:
        if self.kept is not None and trainer.is_global_zero:
            self.kept.keep(done)


class Budget(Timer):
    """Stop at an epoch's end once the time is used up; tells the finished share of the run.

    The elapsed time is kept in checkpoints, so that a resumed run gets what is left. While the
    process is stopped, it does not count (:class:`pyg_crysdiff.training.clock.WorkingClock`).

    Args:
        max_epochs: Epochs of the run.
        minutes: Time of the training; None for no limit.
    """

    def __init__(self, max_epochs: int, minutes: float | None) -> None:
        limit = None if minutes is None else timedelta(minutes=minutes)
        super().__init__(duration=limit, interval="epoch", verbose=False)
        self.max_epochs = max_epochs
        self._minutes = minutes
        self._epoch = 0.0
        self._share = 0.0
        self._clock = WorkingClock()

    def time_elapsed(self, stage: str = RunningStage.TRAINING) -> float:
        """Return the seconds of a stage; of the training those in which the process worked."""
        if RunningStage(stage) != RunningStage.TRAINING:
            return float(super().time_elapsed(stage))
        return self._offset + self._clock.seconds()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        super().on_train_start(trainer, pl_module)
        self._clock.start()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count no further."""
        super().on_train_end(trainer, pl_module)
        self._clock.stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Count no further."""
        del trainer, pl_module, exception
        self._clock.stop()

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


class StopAfter(Callback):
    """Leave off at an epoch's end, to go on another time, before a limit of wall time is reached.

    For machines that are lent for so long. Other than :class:`Budget` it is no part of the run: it
    changes neither its length nor its learning rate. An epoch that would end after the limit, as
    far as the longest one before tells, is not begun; the first one is begun in any case.

    Args:
        minutes: Limit, from now on.
    """

    def __init__(self, minutes: float) -> None:
        self.stopped = False
        self._seen = time.monotonic()
        self._end = self._seen + 60 * minutes
        self._longest = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure the epochs."""
        del trainer, pl_module
        self._seen = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if the next epoch would not end in time."""
        del pl_module
        now = time.monotonic()
        self._longest = max(self._longest, now - self._seen)
        self._seen = now
        late = now + self._longest > self._end
        if trainer.strategy.broadcast(late) and not trainer.should_stop:
            self.stopped = trainer.current_epoch + 1 < (trainer.max_epochs or 0)
            trainer.should_stop = True
