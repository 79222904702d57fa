"""Training and sampling a CDVAE checkout (https://github.com/txie-93/cdvae) with its own code.

Runs in the child process of :func:`pyg_crysdiff.baselines.live.run_live`. It is trained as
:mod:`pyg_crysdiff.baselines.layout` says; sampler and property optimisation are its own too.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from pyg_crysdiff.baselines.layout import trained
from pyg_crysdiff.baselines.live import GENERATED, OPTIMISED, LiveRequest

_KEYS = ("frac_coords", "num_atoms", "atom_types", "lengths", "angles")
# 4,996 steps and 10 saved sets: with its default of 5,000 CDVAE's loop saves an eleventh set, and
# "best of ten" would be best of eleven.
_GRADIENT_STEPS, _SAVED = 4996, 10
_LANGEVIN_STEPS = 100  # per noise level, its default


def train_and_sample(request: LiveRequest) -> dict[str, Any]:
    """Train CDVAE with its property head, then sample its prior and optimise the property.

    Writes the generated crystals and, candidate-major as CDVAE does, the optimised ones.

    Returns:
        Facts: epochs, seconds of training and of both samplings, number of parameters, starts of
        the optimisation.
    """
    work = Path(request.work).resolve()
    overrides = [
        "model.predict_property=True",
        "data.datamodule.batch_size.train=64",
        f"data.datamodule.batch_size.test={max(request.num_samples, 64)}",
    ]
    model, data, facts = trained(request, overrides)
    facts["langevin_steps"] = request.sampler_steps or _LANGEVIN_STEPS
    script = importlib.import_module("evaluate")  # CDVAE's scripts/evaluate.py
    langevin = SimpleNamespace(
        n_step_each=facts["langevin_steps"], step_lr=1e-4, min_sigma=0, save_traj=False,
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
