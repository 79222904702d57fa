"""Trainings whose loss is no longer a number: steps are left out, and after some the run ends."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from pyg_crysdiff.training.optimizers import leave_out

log = logging.getLogger(__name__)
_WHAT_TO_DO = (
    "The last checkpoint is older and is kept; look at the values of the data and lower the "
    "learning rate, then train into another folder"
)


class TrainingDivergedError(ValueError):
    """The loss, its gradient or the weights of a training are not finite."""


class FiniteSteps(Callback):
    """Leave out steps whose gradient is not finite; end the training when they do not stop.

    One such step would make all weights NaN. Where several processes train, the gradient is that
    of all of them, so that all leave out the same steps.

    Args:
        patience: Steps in a row, with a gradient or loss that is not finite, that end the training.
    """

    def __init__(self, patience: int = 10) -> None:
        self.patience = patience
        self._loss: Tensor | None = None
        self._in_a_row: Tensor | None = None
        self._first_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._in_a_row = torch.zeros((), device=pl_module.device)
        self._first_step = trainer.global_step

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Note the loss."""
        del trainer, pl_module
        self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Take the step away from the optimiser if the gradient is not finite."""
        assert self._loss is not None
        assert self._in_a_row is not None
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        finite = torch.nn.utils.get_total_norm(gradients).isfinite()
        leave_out(optimizer, ~finite)
        fine = finite & self._loss.isfinite()
        self._in_a_row = torch.where(fine, 0.0, self._in_a_row + 1)
        # Looking at the number makes the host wait for a GPU: not at every step.
        here = self._in_a_row.device.type == "cpu"
        if here or (trainer.global_step + 1) % self.patience == 0:
            self._end_if(self.patience, trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of a validation loss that is not finite."""
        del pl_module
        losses = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad and trainer.is_global_zero:
            log.warning(
                "epoch %d: %s is not finite; a crystal of the validation set may have a property "
                "or cell that is no number",
                trainer.current_epoch, ", ".join(bad),
            )  # fmt: skip

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a run of which no step was any good before it is kept as a finished one."""
        del pl_module
        made = trainer.global_step - self._first_step
        ends = trainer.current_epoch + 1 == trainer.max_epochs or trainer.should_stop
        self._end_if(min(made, self.patience) if ends else self.patience, trainer)

    def _end_if(self, limit: int, trainer: Trainer) -> None:
        assert self._in_a_row is not None
        if (number := int(self._in_a_row)) and number >= limit:
            raise TrainingDivergedError(
                f"the training diverged: loss or gradient were not finite in the last {number} "
                f"steps (epoch {trainer.current_epoch}, step {trainer.global_step}). "
                f"{_WHAT_TO_DO}"
            )


def refuse_non_finite(checkpoint: Mapping[str, Any]) -> None:
    """Check the weights of a checkpoint that is to be written.

    Raises:
        TrainingDivergedError: If one is not finite.
    """
    for part in ("state_dict", "current_model_state"):
        for name, value in checkpoint.get(part, {}).items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise TrainingDivergedError(
                    f"the training diverged: {name} is not finite, so no checkpoint was written "
                    f"(epoch {checkpoint.get('epoch')}, step {checkpoint.get('global_step')}). "
                    f"{_WHAT_TO_DO}"
                )
