"""Training and sampling a CDVAE checkout (https://github.com/txie-93/cdvae) with its own code.

Runs in the child process of :func:`pyg_crysdiff.baselines.live.run_live`. Model, data module,
losses, configuration, sampler and property optimisation are those of the checkout; only the
trainer is ours, because CDVAE's ``run.py`` needs Weights & Biases and Lightning 1.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from pyg_crysdiff.baselines.live import GENERATED, OPTIMISED, LiveRequest

_KEYS = ("frac_coords", "num_atoms", "atom_types", "lengths", "angles")
# 4,996 steps and 10 saved sets: with its default of 5,000 CDVAE's loop saves an eleventh set, and
# "best of ten" would be best of eleven.
_GRADIENT_STEPS, _SAVED = 4996, 10


def train_and_sample(request: LiveRequest) -> dict[str, Any]:
    """Train CDVAE with its property head, then sample its prior and optimise the property.

    Writes the generated crystals and, candidate-major as CDVAE does, the optimised ones.

    Returns:
        Facts: epochs, seconds of training and of both samplings, number of parameters, starts of
        the optimisation.
    """
    work = Path(request.work).resolve()
    _enter(Path(request.checkout).resolve(), work)
    pl = importlib.import_module("pytorch_lightning")  # the module whose classes CDVAE uses
    pl.seed_everything(request.seed, verbose=False)
    config = _config(request, work)
    data = instantiate(config.data.datamodule, _recursive_=False)
    parts = {"optim": config.optim, "data": config.data, "logging": config.logging}
    model = instantiate(config.model, **parts, _recursive_=False)
    model.lattice_scaler, model.scaler = data.lattice_scaler.copy(), data.scaler.copy()
    facts = _train(pl, model, data, config, request, work)
    model = model.to(request.device).eval()
    script = importlib.import_module("evaluate")  # CDVAE's scripts/evaluate.py
    langevin = SimpleNamespace(
        n_step_each=request.langevin_steps, step_lr=1e-4, min_sigma=0, save_traj=False,
        disable_bar=True,
    )  # fmt: skip
    start = time.perf_counter()
    generated = script.generation(model, langevin, 1, 1, batch_size=request.num_samples)
    torch.save(dict(zip(_KEYS, generated, strict=False)), work / GENERATED)
    facts["generation_seconds"] = round(time.perf_counter() - start, 1)
    data.setup("test")
    start = time.perf_counter()
    optimised = script.optimization(
        model, langevin, data.test_dataloader()[0],
        num_starting_points=request.num_samples // _SAVED, num_gradient_steps=_GRADIENT_STEPS,
        num_saved_crys=_SAVED,
    )  # fmt: skip
    torch.save({key: optimised[key].detach().cpu() for key in _KEYS}, work / OPTIMISED)
    facts["num_starts"] = request.num_samples // _SAVED
    facts["optimisation_seconds"] = round(time.perf_counter() - start, 1)
    return facts


def _enter(checkout: Path, work: Path) -> None:
    """Set what CDVAE reads from the environment, and let its modules be found."""
    os.environ.update(PROJECT_ROOT=str(checkout), HYDRA_JOBS=str(work), WABDB_DIR=str(work))
    sys.path[:0] = [str(checkout), str(checkout / "scripts")]


def _config(request: LiveRequest, work: Path) -> Any:
    overrides = [
        f"data={request.config}",
        f"data.root_path={work}",
        f"data.prop={request.property_name}",
        f"data.max_atoms={max(request.max_atoms, 20)}",
        f"data.preprocess_workers={torch.get_num_threads()}",
        "model.predict_property=True",
        "data.datamodule.batch_size.train=64",
        f"data.datamodule.batch_size.test={max(request.num_samples, 64)}",
        *request.overrides,
    ]
    with initialize_config_dir(str(Path(request.checkout).resolve() / "conf"), version_base="1.1"):
        return compose("default", overrides=overrides)


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
        check_val_every_n_epoch=1,  # its scheduler asks for a validation loss in every epoch
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
        "langevin_steps": request.langevin_steps,
        "training_loss": float(trainer.callback_metrics["train_loss"]),
    }
