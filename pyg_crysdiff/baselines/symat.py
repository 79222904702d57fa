"""Training and sampling a SyMat checkout (divelab/AIRS, OpenMat/SyMat) with its own code.

Runs in the child process of :func:`pyg_crysdiff.baselines.live.run_live`. The public code holds
generation only, not the property optimisation of the paper.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyg_crysdiff.baselines.live import GENERATED, LiveRequest

_LANGEVIN_STEPS = 100  # per noise level, its default


class _TimeIsUp(Exception):  # noqa: N818
    """Ends SyMat's training loop, which knows epochs only."""


def train_and_sample(request: LiveRequest) -> dict[str, Any]:
    """Train SyMat and sample its prior.

    Returns:
        Facts: epochs, seconds of training and sampling, number of parameters.
    """
    checkout, work = Path(request.checkout).resolve(), Path(request.work).resolve()
    sys.path.insert(0, str(checkout))
    random.seed(request.seed)
    np.random.seed(request.seed)  # noqa: NPY002 - SyMat draws from the global state
    torch.manual_seed(request.seed)
    config = _config(request)
    code = importlib.import_module("runner")
    runner = _timed(code.Runner, request.minutes)(
        config, str(checkout / "data" / request.config / "score_norm.txt")
    )
    start = time.perf_counter()
    with contextlib.suppress(_TimeIsUp):
        runner.train(str(work / "train.csv"), str(work / "val.csv"), str(work))
    seconds = time.perf_counter() - start
    torch.save(runner.model.state_dict(), work / "weights.pt")
    steps = request.sampler_steps or _LANGEVIN_STEPS
    start = time.perf_counter()
    found = runner.generate(
        request.num_samples,
        str(work / "train.csv"),
        coord_num_langevin_steps=steps,
    )
    _save(found, work / GENERATED)
    return {
        "epochs": runner.epochs,
        "training_seconds": round(seconds, 1),
        "generation_seconds": round(time.perf_counter() - start, 1),
        "num_parameters": sum(p.numel() for p in runner.model.parameters()),
        "langevin_steps": steps,
        "training_loss": runner.last_loss,
    }


def _config(request: LiveRequest) -> dict[str, Any]:
    package = importlib.import_module(f"config.{request.config}_config_dict")
    config: dict[str, Any] = copy.deepcopy(package.conf)
    config["data"]["prop_name"] = request.property_name
    config["model"]["use_gpu"] = request.device.startswith("cuda")
    config["model"]["max_num_atoms"] = max(config["model"]["max_num_atoms"], request.max_atoms)
    config["batch_size"] = 64
    config["end_epoch"] = 10**6  # the time budget ends it
    config["verbose"] = 10**6
    for override in request.overrides:
        key, _, value = override.partition("=")
        *path, last = key.split(".")
        place = config
        for part in path:
            place = place[part]
        if last not in place:
            raise ValueError(f"SyMat's configuration has no {key}")
        place[last] = type(place[last])(value)
    return config


def _timed(runner: type, minutes: float) -> type:
    """SyMat's runner, whose epochs are counted and stop when the time is up."""

    class Timed(runner):
        epochs = 0
        last_loss = float("nan")
        deadline = time.perf_counter() + 60 * minutes

        def _train_epoch(self, loader: Any, epoch: int) -> Any:
            if self.epochs == 0:
                type(self).deadline = time.perf_counter() + 60 * minutes
            elif time.perf_counter() > self.deadline:
                raise _TimeIsUp
            found = super()._train_epoch(loader, epoch)
            if found is not None:
                self.epochs += 1
                self.last_loss = found[0]
            return found

    return Timed


def _save(found: Any, path: Path) -> None:
    atom_types, lengths, angles, frac_coords = found
    torch.save(
        {
            "num_atoms": torch.tensor([len(a) for a in atom_types]),
            "atom_types": torch.from_numpy(np.concatenate(atom_types)),
            "lengths": torch.from_numpy(np.stack(lengths)),
            "angles": torch.from_numpy(np.stack(angles)),
            "frac_coords": torch.from_numpy(np.concatenate(frac_coords)),
        },
        path,
    )
