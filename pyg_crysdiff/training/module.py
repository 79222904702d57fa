"""The LightningModule that trains a generator of either family."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch_geometric.data import Batch

from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.models.checkpoint import KEY, pack
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.training.optimizers import build_optimizer, check_state


class DiffusionModule(LightningModule):
    """Training of a crystal diffusion model.

    All noise of a step comes from a generator seeded by (seed, step, process), so that a resumed
    run sees the numbers of an uninterrupted one; validation always sees the same noise. Of several
    processes the first logs the loss of its own share; each validates on the whole set.

    Args:
        model: The generator.
        config: Full training configuration as plain containers; stored in checkpoints.
        card: Facts about the run that belong into the checkpoint (data set, split, versions).
        progress: Returns the finished share of the training, 0 to 1, for the decay of the
            learning rate.
        seconds: Returns the time of the training so far.
    """

    def __init__(
        self,
        model: Generator,
        config: Mapping[str, Any],
        card: Mapping[str, Any],
        progress: Callable[[], float],
        seconds: Callable[[], float] = float,
    ) -> None:
        super().__init__()
        self.model, self.seconds = model, seconds
        self.config, self.card, self.progress = dict(config), dict(card), progress
        self.seed = int(config["seed"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the weighted loss of a batch and log each field's."""
        del batch_idx
        stream = "train" if self.global_rank == 0 else f"train on {self.global_rank}"
        generator = torch.Generator().manual_seed(crystal_seed(self.seed, self.global_step, stream))
        return self._losses(batch, generator, "train", dropout=None)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss with fixed noise and the condition always given."""
        generator = torch.Generator().manual_seed(crystal_seed(self.seed, batch_idx, "validate"))
        return self._losses(batch, generator, "val", dropout=0.0)

    def _losses(
        self, batch: Batch, generator: torch.Generator, stage: str, dropout: float | None
    ) -> Tensor:
        losses = self.model.loss(batch, generator, dropout)
        self.log_dict(
            {f"{stage}/{name}": value.detach() for name, value in losses.items()},
            on_step=False,
            on_epoch=True,
            batch_size=batch.num_graphs,
            logger=stage != "train",
        )
        if stage == "train":
            # Not for Lightning's progress bar, for which it would be waited for in every step.
            self.log("loss", losses["total"].detach(), logger=False)
        return losses["total"]

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean losses, before the checkpoint is written.

        Lightning would do so afterwards, and a run that is killed in between would lack them.
        """
        losses = self.trainer.callback_metrics.items()
        means = {name: float(mean) for name, mean in losses if name.startswith("train/")}
        for logger in self.loggers:
            logger.log_metrics({**means, "epoch": self.current_epoch}, self.global_step - 1)

    def so_far(self) -> dict[str, float]:
        """Return what a learning curve is drawn against, at the end of an epoch.

        Crystals seen in training (each as often as it was), seconds of the training, and the
        learning rate of the coming step. A run that started from another model's weights counts
        its own.
        """
        seen = (self.current_epoch + 1) * int(self.card.get("num_train", 0))
        group = self.trainer.optimizers[0].param_groups[0]
        return {"crystals_seen": seen, "seconds": round(self.seconds(), 1), "lr": group["lr"]}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, with linear warm-up and cosine decay along the progress of the run."""
        options = self.config["optimizer"]
        optimizer = build_optimizer(self.model, options)
        final = options["final_lr"]

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, options["warmup_steps"]))
            decay = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * self.progress()))
            return warm * decay

        scheduler = LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients.

        Lightning refuses to do so itself with a fused optimiser in mixed precision, for the sake
        of gradient scaling, which bfloat16 does not need.
        """
        del optimizer, gradient_clip_algorithm
        if gradient_clip_val:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint whose optimiser was another one."""
        for state in checkpoint.get("optimizer_states", []):
            check_state(self.model, self.config["optimizer"], state)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add configuration, data statistics and what was trained so far to the checkpoint."""
        so_far = self.so_far()
        card = {
            **self.card,
            "crystals_seen": so_far["crystals_seen"],
            "training_seconds": so_far["seconds"],
        }
        checkpoint[KEY] = pack(self.config, self.model.statistics, card)
