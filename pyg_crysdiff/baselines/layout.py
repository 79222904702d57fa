"""Checkouts that are laid out as CDVAE's is: Hydra folder ``conf``, data module, Lightning model.

DiffCSP's is one of them. Model, data module, losses and configuration are those of the checkout.
Only the trainer is ours, because their ``run.py`` needs Weights & Biases and Lightning 1.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from pyg_crysdiff.baselines.live import LiveRequest


def trained(request: LiveRequest, overrides: Sequence[str] = ()) -> tuple[Any, Any, dict[str, Any]]:
    """Train the checkout's model for the time that was asked for, and save its weights.

    Args:
        request: The live run.
        overrides: Overrides of the checkout's configuration, before those of the request.

    Returns:
        The model on its device, for evaluation; its data module; and facts: epochs, seconds,
        parameters, loss.
    """
    work = Path(request.work).resolve()
    _enter(Path(request.checkout).resolve(), work)
    pl = importlib.import_module("pytorch_lightning")  # the module whose classes they use
    pl.seed_everything(request.seed, verbose=False)
    config = _config(request, work, overrides)
    data = instantiate(config.data.datamodule, _recursive_=False)
    parts = {"optim": config.optim, "data": config.data, "logging": config.logging}
    model = instantiate(config.model, **parts, _recursive_=False)
    model.lattice_scaler, model.scaler = data.lattice_scaler.copy(), data.scaler.copy()
    facts = _train(pl, model, data, config, request, work)
    return model.to(request.device).eval(), data, facts


def _enter(checkout: Path, work: Path) -> None:
    """Set what they read from the environment, and let their modules be found."""
    os.environ.update(PROJECT_ROOT=str(checkout), HYDRA_JOBS=str(work), WABDB_DIR=str(work))
    sys.path[:0] = [str(checkout), str(checkout / "scripts")]


def _config(request: LiveRequest, work: Path, overrides: Sequence[str]) -> Any:
    settings = [
        f"data={request.config}",
        f"data.root_path={work}",
        f"data.prop={request.property_name}",
        f"data.max_atoms={max(request.max_atoms, 20)}",
        f"data.preprocess_workers={torch.get_num_threads()}",
        *overrides,
        *request.overrides,
    ]
    with initialize_config_dir(str(Path(request.checkout).resolve() / "conf"), version_base="1.1"):
        return compose("default", overrides=settings)


def _train(
    pl: Any, model: Any, data: Any, config: Any, request: LiveRequest, work: Path
) -> dict[str, Any]:
    trainer = pl.Trainer(
        default_root_dir=work,
        accelerator="gpu" if request.device.startswith("cuda") else "cpu",
        devices=1,
        max_epochs=config.data.train_max_epochs,
        max_time={"seconds": max(1, round(60 * request.minutes))},
        gradient_clip_val=config.train.pl_trainer.gradient_clip_val,
        gradient_clip_algorithm=config.train.pl_trainer.gradient_clip_algorithm,
        check_val_every_n_epoch=1,  # their scheduler asks for a validation loss in every epoch
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(model, datamodule=data)
    torch.save(model.state_dict(), work / "weights.pt")
    return {
        "epochs": trainer.current_epoch,
        "training_seconds": round(time.perf_counter() - start, 1),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "training_loss": float(trainer.callback_metrics["train_loss"]),
    }
