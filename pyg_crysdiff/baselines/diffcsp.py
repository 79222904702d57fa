"""Training and sampling a DiffCSP checkout (https://github.com/jiaor17/DiffCSP) with its own code.

Runs in the child process of :func:`pyg_crysdiff.baselines.live.run_live`. Model, losses, data
module and sampler are those of the checkout (:mod:`pyg_crysdiff.baselines.layout`), in the form
that generates the species too. Its guidance towards an energy needs a second model, and is left
out.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Batch, Data

from pyg_crysdiff.baselines.layout import trained
from pyg_crysdiff.baselines.live import GENERATED, LiveRequest

_BATCH = 100  # crystals; its sampler keeps the states of all steps


def train_and_sample(request: LiveRequest) -> dict[str, Any]:
    """Train DiffCSP and sample it without a condition.

    ``request.sampler_steps`` is T of its process, in training too (its own: 1,000). Numbers of
    atoms are drawn from those of the training crystals. The step size of its corrector is the one
    that its scripts recommend for this kind of data.

    Returns:
        Facts: epochs, seconds of training and sampling, number of parameters, steps.
    """
    overrides = ["model=diffusion_w_type"]
    if request.sampler_steps is not None:
        overrides.append(f"model.timesteps={request.sampler_steps}")
    model, data, facts = trained(request, overrides)
    facts["steps"] = model.beta_scheduler.timesteps
    known = [len(entry["graph_arrays"][1]) for entry in data.train_dataset.cached_data]
    script = importlib.import_module("generation")  # DiffCSP's scripts/generation.py
    recommended = importlib.import_module("eval_utils").recommand_step_lr["gen"]
    sizes = np.random.default_rng(request.seed).choice(known, request.num_samples)
    start = time.perf_counter()
    frac_coords, atom_types, _, lengths, angles, num_atoms = script.diffusion(
        list(_batches(sizes)), model, recommended[request.config]
    )
    found = {
        "frac_coords": frac_coords,
        "num_atoms": num_atoms,
        "atom_types": atom_types,
        "lengths": lengths,
        "angles": angles,
    }
    torch.save(found, Path(request.work) / GENERATED)
    facts["generation_seconds"] = round(time.perf_counter() - start, 1)
    return facts


def _batches(sizes: np.ndarray) -> Iterator[Batch]:
    """Empty crystals of given sizes, as its sampler takes them."""
    for start in range(0, len(sizes), _BATCH):
        part = [int(n) for n in sizes[start : start + _BATCH]]
        yield Batch.from_data_list([Data(num_atoms=torch.tensor([n]), num_nodes=n) for n in part])
