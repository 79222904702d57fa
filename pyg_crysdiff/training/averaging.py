"""The exponential moving average of the weights, kept where they are trained."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel


class WarmedAverage(WeightAveraging):
    """The exponential moving average of the weights with a gradual start.

    The decay of update n is min(decay, (1 + n) / (10 + n)), so that short runs do not keep
    the random initial weights. Validation and checkpoints use the average.

    Args:
        decay: Largest decay.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False)
        self.decay = decay

    @property
    def state_key(self) -> str:
        """Name in checkpoints: Lightning's, as in those of earlier versions."""
        return WeightAveraging.__qualname__

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average, on the device of the training.

        Lightning makes it before the model is on its GPU. On the processor it would take a copy of
        all weights in every step.
        """
        if stage == "fit":
            device = trainer.strategy.root_device
            self._average_model = _Average(pl_module, device, self.decay)


class _Average(AveragedModel):
    """The average itself; the number of its updates stays on the processor, where it is read."""

    def __init__(self, model: nn.Module, device: torch.device, decay: float) -> None:
        super().__init__(model, use_buffers=False)
        self.module.to(device)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the present weights; the first ones are taken as they are."""
        averaged, current = (
            [weight.detach() for weight in m.parameters()] for m in (self.module, model)
        )
        n = int(self.n_averaged)
        if n == 0:
            torch._foreach_copy_(averaged, current)
        else:
            torch._foreach_lerp_(averaged, current, 1 - min(self.decay, (1 + n) / (10 + n)))
        for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)  # there is no average of these
        self.n_averaged += 1
