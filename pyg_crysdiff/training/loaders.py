"""Training and validation batches for Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from torch_geometric.data import Data

from pyg_crysdiff.training.resident import ResidentBatches
from pyg_crysdiff.training.samplers import EpochOrder, with_focus


class CrystalData(pl.LightningDataModule):
    """Training and validation loaders whose order depends on (seed, epoch) alone.

    Args:
        train: Training set, or a list of data.
        val: Validation set; may be empty.
        batch_size: Crystals per batch.
        seed: Seed of the order.
        focus: Rows of the training set that are drawn more often.
        share: Share of each epoch that is drawn from them.
    """

    def __init__(
        self,
        train: Sequence[Data],
        val: Sequence[Data] | None,
        batch_size: int,
        seed: int,
        focus: Tensor | None = None,
        share: float = 0.0,
    ) -> None:
        super().__init__()
        self.train, self.val, self.batch_size, self.seed = train, val, batch_size, seed
        self.focus, self.share = focus, share

    def train_dataloader(self) -> ResidentBatches:
        """Return the training batches."""
        trainer = self.trainer
        assert trainer is not None
        data, focus = self.train, None
        if self.focus is not None:
            data, focus = with_focus(self.train, self.focus)
        order = EpochOrder(
            len(self.train),
            self.seed,
            lambda: trainer.current_epoch,
            trainer.global_rank,
            trainer.world_size,
            focus,
            self.share,
        )
        return ResidentBatches(data, self.batch_size, order, trainer.strategy.root_device)

    def val_dataloader(self) -> ResidentBatches | list[Any]:
        """Return the validation batches, or an empty list where there is no validation set."""
        if self.val is None or len(self.val) == 0:
            return []
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        return ResidentBatches(self.val, self.batch_size, range(len(self.val)), device)
