"""Small data sets and configurations for tests."""

from copy import deepcopy

import numpy as np
import pandas as pd
import torch

from pyg_crysdiff.data import CrystalDataset, property_of
from pyg_crysdiff.training import compose_config
from tests.conftest import make_crystal


def toy_set(count: int, seed: int = 0) -> CrystalDataset:
    """Random crystals of 2 to 6 atoms with an energy that follows the mean atomic number."""
    rng = np.random.default_rng(seed)
    crystals = [make_crystal(rng, int(rng.integers(2, 7))) for _ in range(count)]
    energies = [float(np.mean(crystal.atomic_numbers) / 10) for crystal in crystals]
    return CrystalDataset.from_crystals(
        crystals, {"energy": energies}, name="toy", split="generated", niggli=False
    )


def energy(data) -> float:
    """The energy of one crystal of the toy set."""
    return float(property_of(data, "energy"))


def small_config(process=None, **changes):
    """The default configuration with a network that trains in seconds."""
    config = deepcopy(compose_config(["conditioner=cds"]))
    config["denoiser"].update(dim=16, num_blocks=2, num_waves=3, pair_hidden=8)
    config["process"]["num_steps"] = 20
    for key, value in (process or {}).items():
        config["process"][key].update(value)
    config.update(batch_size=8, validate_every=1, precision="32-true", device="cpu")
    config.update(changes)
    return config


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Whether two modules have equal state to the last bit."""
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


def toy_sets() -> tuple[CrystalDataset, CrystalDataset]:
    """Training and validation set of most trainings here."""
    return toy_set(24), toy_set(8, seed=1)


def metrics(folder) -> pd.DataFrame:
    """The metrics of a run, but for the time that it took."""
    return pd.read_csv(folder / "metrics.csv").drop(columns="seconds")
