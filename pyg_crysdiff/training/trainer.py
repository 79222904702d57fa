"""One training run: configuration in, checkpoint out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch_geometric.data import InMemoryDataset

import pyg_crysdiff
from pyg_crysdiff.configuration import compose_config
from pyg_crysdiff.data import CrystalDataset
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models.build import PACKAGE
from pyg_crysdiff.models.checkpoint import LoadedModel
from pyg_crysdiff.platform import choose_device, choose_devices, choose_precision
from pyg_crysdiff.training.averaging import WarmedAverage
from pyg_crysdiff.training.callbacks import Budget, SaveLast, StopAfter
from pyg_crysdiff.training.checkpoints import LAST, MetricsFile, WholeCheckpoints, resumable
from pyg_crysdiff.training.config_checks import check_values
from pyg_crysdiff.training.data import (
    Sets,
    conditions,
    given_pair,
    load_data,
    named,
    of_known_elements,
)
from pyg_crysdiff.training.divergence import FiniteSteps
from pyg_crysdiff.training.finetune import new_model
from pyg_crysdiff.training.kept import KeptCheckpoints
from pyg_crysdiff.training.lightning_output import quiet_lightning
from pyg_crysdiff.training.loaders import CrystalData
from pyg_crysdiff.training.module import DiffusionModule
from pyg_crysdiff.training.optimizers import described
from pyg_crysdiff.training.progress_bar import TrainingBar
from pyg_crysdiff.training.run_folder import (
    changes,
    check_config,
    check_data,
    ended,
    located,
    note_end,
    recorded,
    writing,
)
from pyg_crysdiff.training.samplers import focused_rows


@dataclass(frozen=True)
class FitResult:
    """What a training run leaves behind.

    Attributes:
        checkpoint: The last checkpoint.
        seconds: Time of the training, interruptions and pauses of the process not counted.
        epochs: Finished epochs.
        num_parameters: Trainable parameters.
        finished: Whether the run has come to its end; else it can go on.
    """

    checkpoint: Path
    seconds: float
    epochs: int
    num_parameters: int
    finished: bool = True


def train(
    config: Mapping[str, Any],
    out_dir: str | Path,
    *,
    data: Sets | None = None,
    trusted: Sequence[str] = (),
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    base: str | Path | None = None,
    stop_after: float | None = None,
    statistics: DataStatistics | None = None,
) -> FitResult:
    """Train a model, or go on with the run that ``out_dir`` holds.

    Writes ``last.ckpt`` (all that sampling needs), ``config.json``, ``data.json`` (what the data
    were) and ``metrics.csv``; the checkpoint before stays as ``previous.ckpt``. If there is a
    checkpoint the run resumes from it; resumed and uninterrupted runs give the same weights where
    the length is set in epochs. A run that is finished is not repeated; with a greater length it
    goes on, at the learning rate that the greater length has at this point.

    Args:
        config: Configuration as composed from ``configs/train.yaml``, plain containers.
        out_dir: Output folder.
        data: Training and validation set in memory, in the place of ``config["data"]``; the latter
            may be None or empty. To go on with such a run takes the same data again.
        trusted: Packages besides this one that conditioners and data sets may come from.
        progress: Show a progress bar.
        callbacks: Further Lightning callbacks.
        base: Folder at which relative paths in the configuration start; None for the working
            folder.
        stop_after: Minutes of wall time, loading of the data included, after which this call leaves
            off at an epoch's end; the same call goes on then. Not a part of the run, other than
            ``budget_minutes``.
        statistics: What the model is to remember of its data, where the training set is a part of
            them alone; None for the statistics of the training set.

    Raises:
        ValueError: If the folder holds a run of another configuration or on other data, another
            process trains there, or a value is bad; or if it holds a run on data in memory and
            they are not given.
        TypeError: If ``data`` is no pair of data sets.
        TrainingDivergedError: If the loss is no longer a number.
        OSError: If the folder cannot be written to.
    """
    check_values(config)
    if stop_after is not None:
        if not stop_after > 0:
            raise ValueError(f"stop_after must be a number of minutes above 0, got {stop_after}")
        callbacks = [*callbacks, StopAfter(stop_after)]
    out_dir, start = Path(out_dir), Path(base or "").resolve()
    sets = None if data is None else given_pair(data)
    if sets is not None:
        config = {**config, "data": named(*sets)}
    with writing(out_dir):
        return _train(
            config, out_dir, sets, start, (PACKAGE, *trusted), progress, callbacks, statistics
        )


def _train(
    config: Mapping[str, Any],
    out_dir: Path,
    sets: tuple[CrystalDataset, CrystalDataset] | None,
    base: Path,
    trusted: Sequence[str],
    progress: bool,
    callbacks: Sequence[Callback],
    statistics: DataStatistics | None,
) -> FitResult:
    check_config(out_dir, config)
    device = choose_device(config["device"])
    devices = choose_devices(config.get("devices", 1), device)
    places = located(config, base)
    train_set, val_set = sets or load_data(places["data"], trusted)
    properties = conditions(train_set, val_set, config["properties"])
    focus = config.get("focus")
    check_data(out_dir, config, {"train": train_set, "val": val_set}, properties, base)
    if (facts := ended(out_dir, config)) is not None:
        return FitResult(**{**facts, "checkpoint": out_dir / facts["checkpoint"]})
    statistics = statistics or DataStatistics.from_dataset(train_set, properties)
    train_set = _share(train_set, config.get("train_fraction", 1.0), int(config["seed"]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(config["seed"]))
        model, origin = new_model(places, statistics, trusted)
    rank_zero_info(f"optimiser: {described(model, config['optimizer'])}")
    card = _card(train_set, properties, config, origin)
    rows = focused_rows(train_set, properties, focus, train_set.property_names) if focus else None
    val_set = of_known_elements(val_set, model.elements)
    train_data, val_data = model.prepare(train_set, val_set, progress)
    batches = CrystalData(
        train_data,
        val_data,
        config["batch_size"],
        int(config["seed"]),
        rows,
        focus["share"] if focus else 0.0,
    )
    budget = Budget(config["max_epochs"], config["budget_minutes"])
    module = DiffusionModule(model, config, card, budget.progress, budget.time_elapsed)
    saving = SaveLast(
        out_dir,
        config["validate_every"],
        KeptCheckpoints(out_dir, config.get("keep_every"), trusted),
    )
    metrics = MetricsFile(out_dir, module.so_far)
    with quiet_lightning():
        trainer = _trainer(config, metrics, device, devices, budget, [*callbacks, saving], progress)
        trainer.fit(module, datamodule=batches, ckpt_path=resumable(out_dir), weights_only=True)
    result = FitResult(
        checkpoint=out_dir / LAST,
        seconds=budget.time_elapsed(),
        epochs=trainer.fit_loop.epoch_progress.current.processed,  # type: ignore[attr-defined]
        num_parameters=sum(p.numel() for p in model.parameters()),
        finished=not any(isinstance(c, StopAfter) and c.stopped for c in callbacks),
    )
    if result.finished:
        note_end(out_dir, {**asdict(result), "checkpoint": LAST}, config)
    return result


def _trainer(
    config: Mapping[str, Any],
    metrics: MetricsFile,
    device: torch.device,
    devices: int | list[int],
    budget: Budget,
    callbacks: Sequence[Callback],
    progress: bool,
) -> pl.Trainer:
    """Return Lightning's Trainer for a run."""
    bar = [TrainingBar(budget.progress)] if progress else []
    options = config["optimizer"]
    try:
        return pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=devices,
            num_nodes=config.get("num_nodes", 1),
            strategy=config.get("strategy", "auto"),
            precision=choose_precision(config["precision"], device),  # type: ignore[arg-type]
            max_epochs=config["max_epochs"],
            check_val_every_n_epoch=config["validate_every"],
            gradient_clip_val=options["clip_norm"],
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            callbacks=[
                WarmedAverage(options["ema_decay"]),
                budget,
                FiniteSteps(),
                *bar,
                *callbacks,
            ],
            plugins=[WholeCheckpoints()],
            logger=metrics,
            enable_progress_bar=progress,
            enable_model_summary=False,
            enable_checkpointing=True,
            default_root_dir=metrics.path.parent,
        )
    except MisconfigurationException as error:
        raise ValueError(f"bad configuration: {error}") from error


def fit(
    overrides: Sequence[str], out_dir: str | Path, *, data: Sets | None = None, **options: Any
) -> FitResult:
    """Compose a configuration from Hydra overrides and :func:`train` with it.

    ``fit(["max_epochs=100"], "run", data=(train, val))`` trains on data sets in memory.
    """
    return train(compose_config(overrides), out_dir, data=data, **options)


def resume(out_dir: str | Path, overrides: Sequence[str] = (), **options: Any) -> FitResult:
    """Go on with an interrupted run from its own folder, or with a finished one for longer.

    Relative paths in its configuration start where they did when the run began. A run on data in
    memory takes them again: ``resume(out_dir, data=(train, val))``.

    Args:
        out_dir: Folder of the run.
        overrides: Settings that may change on the way, as ``KEY=VALUE``: the length
            (``["budget_minutes=120"]``) and where the run goes on.
        **options: Arguments of :func:`train`.

    Raises:
        FileNotFoundError: If the folder holds no run.
        ValueError: As :func:`train`, or if an override is of something else.
    """
    config, base = recorded(Path(out_dir))
    return train({**config, **changes(overrides)}, out_dir, **{"base": base, **options})


def _share(train: InMemoryDataset, fraction: float, seed: int) -> InMemoryDataset:
    """Return a random share of a training set; smaller shares are parts of larger ones.

    Elements, sizes and scales of the model stay those of the whole set: the validation set may have
    what a share lacks.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"train_fraction must lie above 0 and at most at 1, got {fraction}")
    if fraction == 1:
        return train
    order = np.random.default_rng(seed).permutation(len(train))
    share = train.index_select(np.sort(order[: max(1, round(fraction * len(train)))]))
    assert isinstance(share, InMemoryDataset)
    return share


def _card(
    dataset: InMemoryDataset,
    properties: Sequence[str],
    config: Mapping[str, Any],
    start: LoadedModel | None,
) -> dict[str, Any]:
    origin = {}
    if start is not None:  # what it was trained on in turn, but not what it was measured to do
        facts = (
            "dataset", "split", "num_train", "seed", "epoch", "global_step", "crystals_seen",
            "training_seconds", "init",
        )  # fmt: skip
        earlier = {key: start.card[key] for key in facts if key in start.card}
        origin = {"init": {**earlier, "digest": start.digest}}
    return {
        **origin,
        "dataset": dataset.display_name,
        "split": dataset.split_description,
        "num_train": len(dataset),
        "properties": list(properties),
        "seed": int(config["seed"]),
        "version": pyg_crysdiff.__version__,
        "torch": str(torch.__version__),
    }
