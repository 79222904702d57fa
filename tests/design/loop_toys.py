"""A small model, small data and oracles for runs that take a second."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.design import Answer, DesignSettings, design, read_objectives
from pyg_crysdiff.design.choosing import Caps
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.models.checkpoint import LoadedModel, export_checkpoint
from pyg_crysdiff.sampling import Sampler
from tests.helpers import small_config, toy_set

WANTED = read_objectives(["energy=:1.6"])
FEW = Sampler.of("paper", steps=2)
SETTINGS = DesignSettings(
    batch=4, draws=12, caps=Caps(None, None, None), sampler=FEW, device="cpu", workers=0,
    precision="32-true",
)  # fmt: skip


def toy_energy(crystal: Crystal) -> float:
    """The energy of the toy set: it follows the mean atomic number."""
    return float(np.mean(crystal.atomic_numbers) / 10)


class ToyOracle:
    """Answers with the toy energy, from the last to the first.

    Args:
        slow: Keys that are answered when they are asked for the second time.
        failing: Keys that fail.
        forwards: Answer from the first to the last.
    """

    names = ("energy",)
    identity = "toy"

    def __init__(self, slow=(), failing=(), *, forwards=False) -> None:
        self.forwards = forwards
        self.slow, self.failing = set(slow), set(failing)
        self.asked: list[list[str]] = []

    def ask(self, crystals: Mapping[str, Crystal]) -> Iterator[tuple[str, Answer]]:
        self.asked.append(list(crystals))
        for key in sorted(crystals, reverse=not self.forwards):
            if key in self.slow:
                self.slow.remove(key)
            elif key in self.failing:
                yield key, Answer.failed("no convergence")
            else:
                yield key, Answer({"energy": toy_energy(crystals[key])}, "", None, {"seconds": 0.5})


def tiny_checkpoint(path: Path, seed: int = 0) -> Path:
    """Write a small generator that has learned nothing, which takes a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = small_config()
    model = build_model(config, DataStatistics.from_dataset(toy_set(24), ["energy"]))
    export_checkpoint(LoadedModel(model.eval(), config, {}, "", path), path, half=False)
    return path


def toy_data() -> list[Crystal]:
    """Labelled crystals, enough for a predictor."""
    return toy_set(24).crystals()


def run(checkpoint, out, budget=10, oracle=None, **options):
    """Make or go on with a toy run; lines that it says come with the result."""
    lines: list[str] = []
    options = {"settings": SETTINGS, "data": toy_data(), "report": False, **options}
    found = design(
        checkpoint, WANTED, oracle or ToyOracle(), budget, out, say=lines.append, **options
    )
    return found, lines


def story(folder) -> list[tuple]:
    """What was evaluated and in which order of choice, to the last bit."""
    ledger = Ledger(folder)
    table = ledger.evaluations().sort_values("key")
    crystals = ledger.crystals()
    rows = zip(table["key"], table["round"], table["energy"], table["problem"], strict=True)
    return [
        (key, number, None if math.isnan(energy) else energy, problem, crystals[key].digest())
        for key, number, energy, problem in rows
    ]
