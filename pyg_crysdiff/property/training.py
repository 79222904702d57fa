"""Training of the property evaluator on structures that the generator never saw."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from pymatgen.core import Element
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

import pyg_crysdiff
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.platform import choose_device, choose_devices
from pyg_crysdiff.progress import bar
from pyg_crysdiff.property.graphs import PropertyGraph, property_graph
from pyg_crysdiff.property.model import (
    PRESETS,
    EvaluatorConfig,
    PeriodicDimeNet,
    PropertyModel,
    preset_name,
)
from pyg_crysdiff.storage import check_same, differences, digest_of, in_words, only_writer
from pyg_crysdiff.training.averaging import WarmedAverage
from pyg_crysdiff.training.callbacks import Budget, SaveLast
from pyg_crysdiff.training.checkpoints import LAST, WholeCheckpoints, resumable
from pyg_crysdiff.training.divergence import FiniteSteps
from pyg_crysdiff.training.lightning_output import quiet_lightning
from pyg_crysdiff.training.progress_bar import TrainingBar
from pyg_crysdiff.training.samplers import EpochOrder

log = logging.getLogger(__name__)
_HELD_OUT = 0.1


def train_evaluator(
    crystals: Sequence[Crystal],
    property_name: str,
    out_dir: str | Path,
    *,
    preset: str | EvaluatorConfig = "standard",
    max_epochs: int = 300,
    budget_minutes: float | None = None,
    batch_size: int = 32,
    lr: float = 1e-3,
    seed: int = 0,
    device: str | torch.device | None = None,
    facts: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> PropertyModel:
    """Train an evaluator, or go on with the interrupted training that ``out_dir`` holds.

    A tenth of the crystals (seeded) is used neither for training nor for any choice; the mean
    absolute error on it is stored as ``held_out_mae``. Loss: mean absolute error. The weights
    are the moving average at the end of a cosine decay.

    Args:
        crystals: Crystals with the property in ``info``; those without a value are left out.
        property_name: Property.
        out_dir: Folder; gets ``evaluator.safetensors`` and, for resuming, ``last.ckpt``.
        preset: ``fast``, ``standard``, ``large``, or sizes of your own.
        max_epochs: Epochs.
        budget_minutes: Wall time after which training ends; None for no limit.
        batch_size: Crystals per step.
        lr: Learning rate of Adam.
        seed: Seed of split, weights and order.
        device: Device; None for the best there is.
        facts: Further facts for the card (data set, split).
        progress: Show progress.

    Raises:
        ValueError: If fewer than 20 crystals have a value, one is infinite, the folder holds an
            evaluator of other data or settings, or another process trains there.
        TrainingDivergedError: If the loss is no longer a number.
        OSError: If the folder cannot be written to.
    """
    crystals = _known(crystals, property_name)
    values = np.array([c.info[property_name] for c in crystals], dtype=np.float64)
    config = PRESETS[preset_name(preset)] if isinstance(preset, str) else preset
    card = {
        "property": property_name,
        "data": _digest(crystals, values),
        "num_crystals": len(crystals),
        "seed": seed,
        "settings": {
            **asdict(config), "max_epochs": max_epochs, "budget_minutes": budget_minutes,
            "batch_size": batch_size, "lr": lr,
        },
        **(facts or {}),
    }  # fmt: skip
    length = _Length(max_epochs, budget_minutes, batch_size, lr, seed)
    with only_writer(out_dir):
        return _train(crystals, values, config, card, Path(out_dir), length, device, progress)


@dataclass(frozen=True)
class _Length:
    """How an evaluator is trained; see :func:`train_evaluator`."""

    max_epochs: int
    budget_minutes: float | None
    batch_size: int
    lr: float
    seed: int


def _train(
    crystals: Sequence[Crystal],
    values: np.ndarray,
    config: EvaluatorConfig,
    card: dict[str, Any],
    out_dir: Path,
    length: _Length,
    device: str | torch.device | None,
    progress: bool,
) -> PropertyModel:
    done = out_dir / "evaluator.safetensors"
    if done.is_file():
        return _same(PropertyModel.load(done), card, done)
    check_same(
        out_dir / "training.json", card, what="a training on other data or with other settings"
    )
    order = np.random.default_rng(length.seed).permutation(len(crystals))
    cut = max(1, round(_HELD_OUT * len(crystals)))
    held_out, train = order[:cut], order[cut:]
    mean, std = float(values[train].mean()), float(values[train].std()) or 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(length.seed)
        network = PeriodicDimeNet(config)
    graphs = [
        property_graph(crystals[i], config.cutoff, config.max_neighbours, (values[i] - mean) / std)
        for i in bar(train, label="building graphs", show=progress)
    ]
    budget = Budget(length.max_epochs, length.budget_minutes)
    module = _Module(network, length.lr, budget.progress)
    epochs = _run(module, graphs, budget, out_dir, length, device, progress)
    model = PropertyModel(network.cpu(), config, mean, std, card)
    seen = {int(z) for i in train for z in crystals[i].atomic_numbers}
    errors = np.abs(model.predict([crystals[i] for i in held_out]) - values[held_out])
    model.card |= {
        "held_out_mae": float(errors.mean()),
        "num_held_out": len(held_out),
        "elements": [Element.from_Z(z).symbol for z in sorted(seen)],
        "training_seconds": round(budget.time_elapsed(), 1),
        "epochs": epochs,
        "version": pyg_crysdiff.__version__,
    }
    model.save(done)
    return model


class _Module(pl.LightningModule):
    def __init__(self, network: PeriodicDimeNet, lr: float, progress: Callable[[], float]) -> None:
        super().__init__()
        self.network, self.lr, self.progress = network, lr, progress

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        del batch_idx
        loss = (self.network(batch) - batch.y.float()).abs().mean()
        self.log("mae", loss.detach(), batch_size=batch.num_graphs, logger=False)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.lr)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / 100)
            return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress())))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def _run(
    module: _Module,
    graphs: Sequence[PropertyGraph],
    budget: Budget,
    out_dir: Path,
    length: _Length,
    device: str | torch.device | None,
    progress: bool,
) -> int:
    """Train, leave the averaged weights in the network, and return the number of epochs."""
    where = choose_device(device)
    shown = [TrainingBar(budget.progress)] if progress else []
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator="gpu" if where.type == "cuda" else where.type,
            devices=choose_devices(1, where),
            max_epochs=length.max_epochs,
            gradient_clip_val=1.0,
            use_distributed_sampler=False,
            callbacks=[WarmedAverage(0.998), budget, FiniteSteps(), *shown, SaveLast(out_dir, 10)],
            plugins=[WholeCheckpoints()],
            logger=False,
            enable_checkpointing=True,
            enable_progress_bar=progress,
            enable_model_summary=False,
            default_root_dir=out_dir,
        )
        sampler = EpochOrder(len(graphs), length.seed, lambda: trainer.current_epoch)
        loader = DataLoader(graphs, length.batch_size, sampler=sampler)
        trainer.fit(module, loader, ckpt_path=resumable(out_dir), weights_only=True)
    # Not what fit leaves in the network: of a run killed between its last checkpoint and the end
    # these are not the averaged weights.
    end = torch.load(out_dir / LAST, map_location="cpu", weights_only=True)
    module.cpu().load_state_dict(end["state_dict"])
    return int(end["epoch"]) + 1


def _known(crystals: Sequence[Crystal], property_name: str) -> list[Crystal]:
    known = with_value(crystals, property_name)
    if len(known) < 20:
        raise ValueError(
            f"an evaluator needs at least 20 crystals, got {len(known)} with a value of "
            f"{property_name!r}"
        )
    endless = [c for c in known if math.isinf(c.info[property_name])]
    if endless:
        name = endless[0].info.get("material_id", "")
        raise ValueError(f"crystal {name}: property {property_name!r} is infinite")
    if len(known) < len(crystals):
        log.warning(
            "%d of %d crystals without a value of %s are left out",
            len(crystals) - len(known), len(crystals), property_name,
        )  # fmt: skip
    return known


def _digest(crystals: Sequence[Crystal], values: np.ndarray) -> str:
    return digest_of([values.tobytes(), *(c.digest() for c in crystals)])[:16]


def _same(model: PropertyModel, card: Mapping[str, Any], path: Path) -> PropertyModel:
    now = json.loads(json.dumps(card))
    if apart := differences({key: model.card.get(key) for key in now}, now):
        raise ValueError(
            f"{path} was trained with other data or settings (different: {in_words(apart)}); "
            "choose another output folder or delete this one"
        )
    return model
