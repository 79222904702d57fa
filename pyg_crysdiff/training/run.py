"""One training run: configuration in, checkpoint out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch_geometric.data import InMemoryDataset

import pyg_crysdiff
from pyg_crysdiff.configuration import compose_config, resolve_class
from pyg_crysdiff.data.properties import describe_use
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models.build import PACKAGE
from pyg_crysdiff.models.checkpoint import LoadedModel
from pyg_crysdiff.platform import choose_device, choose_precision, keep_freed_memory
from pyg_crysdiff.training.callbacks import Budget, SaveLast, warmed_ema
from pyg_crysdiff.training.loaders import CrystalData
from pyg_crysdiff.training.module import DiffusionModule
from pyg_crysdiff.training.order import focused_rows
from pyg_crysdiff.training.quiet import quiet_lightning
from pyg_crysdiff.training.start import new_model


@dataclass(frozen=True)
class FitResult:
    """What a training run leaves behind.

    Attributes:
        checkpoint: The last checkpoint.
        seconds: Wall time of the training, interruptions not counted.
        epochs: Finished epochs.
        num_parameters: Trainable parameters.
    """

    checkpoint: Path
    seconds: float
    epochs: int
    num_parameters: int


def load_data(
    options: Mapping[str, Any],
    properties: Sequence[str] | str,
    trusted: Sequence[str] = (PACKAGE,),
) -> tuple[InMemoryDataset, InMemoryDataset, list[str]]:
    """Open the training and validation sets of a ``data`` configuration.

    Args:
        options: ``name`` of a data set or path of own files, or ``_target_`` with the dotted path
            of a data set class of one's own; besides, arguments of the class.
        properties: Names of the conditioning properties; ``auto`` for the set's own targets.
        trusted: Top-level packages from which such a class may come.

    Returns:
        Both sets (validation may be empty) and the names of the conditioning properties, which
        are also said in one line.

    Raises:
        ValueError: If a wanted property is not in the data, or the class is not trusted.
    """
    from pyg_crysdiff.data import CrystalDataset, load_dataset  # noqa: PLC0415

    options = {key: value for key, value in options.items() if value is not None}
    if target := options.pop("_target_", None):
        name, own = str(target), resolve_class(target, CrystalDataset, trusted)
        train, val = own(split="train", **options), own(split="val", **options)
    else:
        name = options.pop("name")
        train = load_dataset(name, split="train", **options)
        val = load_dataset(name, split="val", **options)
    wanted = _wanted(properties, train.targets)
    missing = [p for p in wanted if p not in train.property_names]
    if missing:
        raise ValueError(
            f"no properties {missing} in {name}; it has {list(train.property_names)} (several are "
            "written properties=[one,two])"
        )
    rank_zero_info(describe_use(train, wanted, "conditioned on", "their condition is hidden"))
    if len(val) == 0:
        rank_zero_info("no validation: its part of the data is empty")
    return train, val, wanted


def _wanted(properties: Sequence[str] | str | None, targets: Sequence[str]) -> list[str]:
    if properties == "auto":
        return list(targets)
    named = [properties] if isinstance(properties, str) else properties or []
    return list(dict.fromkeys(str(name) for name in named))


def train(
    config: Mapping[str, Any],
    out_dir: str | Path,
    *,
    trusted: Sequence[str] = (),
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train a model, or go on with the run that ``out_dir`` holds.

    Writes ``last.ckpt`` (all that sampling needs), ``config.json`` and ``metrics.csv``. If
    ``last.ckpt`` exists the run resumes from it; resumed and uninterrupted runs give the same
    weights where the length is set in epochs. A run that is finished is not repeated.

    Args:
        config: Configuration as composed from ``configs/train.yaml``, plain containers.
        out_dir: Output folder.
        trusted: Packages besides this one that conditioners and data sets may come from.
        progress: Show a progress bar.
        callbacks: Further Lightning callbacks.

    Raises:
        ValueError: If the folder holds a run of another configuration, or a value is bad.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    _check_same_run(out_dir / "config.json", config)
    finished = out_dir / "finished.json"
    if (result := _finished(finished, config)) is not None:
        return result
    device = choose_device(config["device"])
    keep_freed_memory()
    train_set, val_set, properties = load_data(
        config["data"], config["properties"], (PACKAGE, *trusted)
    )
    statistics = DataStatistics.from_dataset(train_set, properties)
    train_set = _share(train_set, config.get("train_fraction", 1.0), int(config["seed"]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(config["seed"]))
        model, start = new_model(config, statistics, (PACKAGE, *trusted))
    card = _card(train_set, properties, config, start)
    focus = config.get("focus")
    rows = focused_rows(train_set, properties, focus) if focus else None
    train_data, val_data = model.prepare(train_set, val_set, progress)
    budget = Budget(config["max_epochs"], config["budget_minutes"])
    module = DiffusionModule(model, config, card, budget.progress)
    resume = out_dir / "last.ckpt"
    bar = [TQDMProgressBar(refresh_rate=5)] if progress else []
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=_devices(config.get("devices", 1), device),
            num_nodes=config.get("num_nodes", 1),
            strategy=config.get("strategy", "auto"),
            precision=choose_precision(config["precision"], device),  # type: ignore[arg-type]
            max_epochs=config["max_epochs"],
            check_val_every_n_epoch=config["validate_every"],
            gradient_clip_val=config["optimizer"]["clip_norm"],
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
            callbacks=[
                warmed_ema(config["optimizer"]["ema_decay"]),
                budget,
                *bar,
                *callbacks,
                SaveLast(out_dir, config["validate_every"]),
            ],
            logger=CSVLogger(out_dir, name="", version=""),
            enable_progress_bar=progress,
            enable_model_summary=False,
            enable_checkpointing=True,
            default_root_dir=out_dir,
        )
        trainer.fit(
            module,
            datamodule=CrystalData(
                train_data,
                val_data,
                config["batch_size"],
                int(config["seed"]),
                rows,
                focus["share"] if focus else 0.0,
            ),
            ckpt_path=resume if resume.is_file() else None,
            weights_only=True,
        )
    result = FitResult(
        checkpoint=resume,
        seconds=budget.time_elapsed(),
        epochs=trainer.current_epoch,
        num_parameters=sum(p.numel() for p in model.parameters()),
    )
    facts = {**asdict(result), "checkpoint": resume.name, **_length(config)}
    if trainer.is_global_zero:
        finished.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return result


def _devices(count: int | str, device: torch.device) -> Any:
    """Return what Lightning's Trainer takes: a number, or the one GPU that was asked for."""
    if count == 1 and device.type == "cuda":
        return [device.index or 0]
    return count


def _length(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("max_epochs", "budget_minutes")}


def _finished(path: Path, config: Mapping[str, Any]) -> FitResult | None:
    """Return the result of a run that has come to its end, unless it is to go on for longer."""
    if not path.is_file():
        return None
    facts = json.loads(path.read_text(encoding="utf-8"))
    if {key: facts.pop(key) for key in _length(config)} != _length(config):
        return None
    return FitResult(**{**facts, "checkpoint": path.parent / facts["checkpoint"]})


def fit(overrides: Sequence[str], out_dir: str | Path, **options: Any) -> FitResult:
    """Compose a configuration from Hydra overrides and :func:`train` with it."""
    return train(compose_config(overrides), out_dir, **options)


def resume(out_dir: str | Path, **options: Any) -> FitResult:
    """Go on with an interrupted run from its own folder; see :func:`train`.

    Raises:
        FileNotFoundError: If the folder holds no run.
    """
    path = Path(out_dir) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no training run in {out_dir} (config.json is missing)")
    return train(json.loads(path.read_text(encoding="utf-8")), out_dir, **options)


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


def _check_same_run(path: Path, config: Mapping[str, Any]) -> None:
    if getattr(rank_zero_only, "rank", 0):  # the first process looks after the folder
        return
    text = json.dumps(config, indent=2, sort_keys=True)
    if not path.is_file():
        path.write_text(text + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    now = json.loads(text)
    later = {"train_fraction": 1.0, "init": None, "focus": None}  # older folders do not say
    before, now = {**later, **before}, {**later, **now}
    # The length of a run may be changed when it is resumed, and where it runs; nothing else may.
    free = {"max_epochs", "budget_minutes", "device", "precision", "devices", "num_nodes"}
    free |= {"strategy"}
    changed = sorted(k for k in now.keys() | before.keys() if now.get(k) != before.get(k))
    if set(changed) - free:
        raise ValueError(
            f"{path.parent} holds a run of another configuration (different: {changed}); "
            "choose another output folder or delete this one"
        )
    path.write_text(text + "\n", encoding="utf-8")


def _card(
    dataset: InMemoryDataset,
    properties: Sequence[str],
    config: Mapping[str, Any],
    start: LoadedModel | None,
) -> dict[str, Any]:
    origin = {}
    if start is not None:  # what it was trained on in turn, but not what it was measured to do
        facts = ("dataset", "split", "num_train", "seed", "epoch", "global_step", "init")
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
