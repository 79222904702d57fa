"""The generator learns from what was found: fine-tuning, and the check whether it helped.

Data flow: found and original crystals -> a fixed part of each is held out -> a training that starts
from the model's weights (:mod:`pyg_crysdiff.design.training_set`) -> losses on what was held out,
with the same noise before and after -> the new model, or the old one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.fine_tune_settings import FineTune
from pyg_crysdiff.design.held_out import crystal_losses
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.training_set import FOUND_RANK, TrainingSet
from pyg_crysdiff.diffusion.noise import crystal_seed
from pyg_crysdiff.models.checkpoint import LoadedModel, load_checkpoint
from pyg_crysdiff.platform import choose_device
from pyg_crysdiff.storage import facts_digest, kept, read_keyed, write_json
from pyg_crysdiff.training import train
from pyg_crysdiff.training.checkpoints import LAST

_TRAINING = "training"  # folder of the training within that of the fine-tuning
_FEWEST_HELD = 5  # held-out crystals of a kind without which nobody can say whether it helped
_MOST_HELD = 100  # of a kind
_DRAWS = 32  # of noise, for each held-out crystal


@dataclass(frozen=True)
class Learned:
    """What a fine-tuning brought.

    Attributes:
        checkpoint: The model to draw with from now on.
        accepted: Whether that is the new one.
        facts: As JSON can hold it: numbers of crystals, losses before and after, seconds, shares of
            the elements.
    """

    checkpoint: Path
    accepted: bool
    facts: Mapping[str, Any] = field(default_factory=dict)


def fine_tune(
    model_file: str | Path,
    original: Sequence[Crystal],
    found: Sequence[Crystal],
    objectives: Sequence[Objective],
    *,
    settings: FineTune | None = None,
    seed: int = 0,
    out: str | Path,
    device: str | None = None,
    precision: str = "auto",
    trusted: Sequence[str] = (),
    progress: bool = True,
) -> Learned:
    """Fine-tune a model on found crystals, and take the new model only where that helps.

    Trained on are original crystals (replay) and found ones, the latter more often. Objectives that
    the model can be asked for need no selection: it learns their values, good and bad. By the other
    ones only crystals that meet them are taken, or the nearest to that where they are few. The new
    model is taken where its loss on found crystals that were held out is lower, by more than the
    standard error, and that on original ones no more than a tolerance higher. Both see the same
    noise. Who is held out is decided by the crystal itself, so that it stays so in all rounds.

    The same call goes on where an interrupted one stopped; what is finished is not repeated.

    Args:
        model_file: The model so far.
        original: Crystals that it was trained on, or others like them, with values in ``info``.
        found: Crystals that were evaluated, with values in ``info``; all so far.
        objectives: What is wanted.
        settings: How it learns.
        seed: Seed; of every round another one.
        out: Folder of this fine-tuning.
        device: Device; None for the best there is.
        precision: ``auto``, ``32-true`` or ``bf16-mixed``.
        trusted: Packages besides this one whose conditioners the checkpoint may name.
        progress: Show progress bars.

    Raises:
        ValueError: If the folder holds another fine-tuning.
        TrainingDivergedError: If the loss is no longer a number.
    """
    settings, out = settings or FineTune(), Path(out)
    old = load_checkpoint(model_file, trusted=trusted)
    made = TrainingSet.of(old, original, found, objectives, settings, seed)
    if lacking := made.lacking(settings.min_found, _FEWEST_HELD):
        return Learned(old.path, False, {**made.facts, "problem": lacking})
    decides = {
        "model": old.digest,
        "seed": seed,
        "settings": asdict(settings),
        "statistics": made.statistics.to_dict(),
    }
    key = facts_digest(decides, made.contents())

    def read(path: Path) -> Learned:
        record = read_keyed(path, key)
        accepted = bool(record["accepted"])
        return Learned(out / _TRAINING / LAST if accepted else old.path, accepted, record["facts"])

    def make() -> Learned:
        return _learned(old, made, settings, seed, out, device, precision, trusted, progress)

    return kept(out / "learned.json", read, make, partial(_note, key))


def _note(key: str, path: Path, learned: Learned) -> None:
    write_json(path, {"key": key, "accepted": learned.accepted, "facts": dict(learned.facts)})


def _learned(
    old: LoadedModel,
    made: TrainingSet,
    settings: FineTune,
    seed: int,
    out: Path,
    device: str | None,
    precision: str,
    trusted: Sequence[str],
    progress: bool,
) -> Learned:
    """Train, compare and decide."""
    started = time.perf_counter()
    places = {"device": device or "auto", "precision": precision}
    config = {**_config(old, made, settings, seed), **places}
    result = train(
        config, out / _TRAINING, data=(made.train, None), statistics=made.statistics,
        trusted=trusted, progress=progress,
    )  # fmt: skip
    trained = time.perf_counter() - started
    where = choose_device(device)
    models = [load_checkpoint(p, where, trusted).model for p in (old.path, result.checkpoint)]
    losses = {
        name: [
            crystal_losses(model, part, crystal_seed(seed, 0, f"held out {name}"), _DRAWS)
            for model in models
        ]
        for name, part in made.held(_MOST_HELD).items()
    }
    compared = {name: compare(before, after) for name, (before, after) in losses.items()}
    problem = verdict(compared, settings.tolerance)
    facts = {
        **made.facts,
        "epochs": config["max_epochs"],
        "losses": compared,
        "problem": problem,
        "seconds": round(trained, 1),
        "seconds_held_out": round(time.perf_counter() - started - trained, 1),
    }
    return Learned(old.path if problem else result.checkpoint, not problem, facts)


def _config(old: LoadedModel, made: TrainingSet, settings: FineTune, seed: int) -> dict[str, Any]:
    """Return the configuration of the fine-tuning: the model's own, but for what is set here."""
    count, size = len(made.train), min(settings.batch_size, len(made.train))
    epochs = max(1, round(settings.steps * settings.batch_size / count))
    steps = epochs * math.ceil(count / size)
    focus = {
        "property": FOUND_RANK, "end": "lowest", "part": settings.best, "share": settings.share,
    }  # fmt: skip
    optimizer = {
        **old.config["optimizer"],
        "lr": settings.lr,
        "warmup_steps": min(50, steps // 10),
    }
    return {
        **old.config,
        "init": str(old.path),
        "properties": list(old.model.properties),
        "focus": focus,
        "optimizer": optimizer,
        "seed": seed,
        "max_epochs": epochs,
        "batch_size": size,
        "validate_every": max(1, epochs // 4),
        "budget_minutes": None,
        "keep_every": None,
        "train_fraction": 1.0,
        "devices": 1,
        "num_nodes": 1,
        "strategy": "auto",
    }


def compare(before: NDArray[np.float64], after: NDArray[np.float64]) -> dict[str, float]:
    """Compare the losses of the same crystals with two models, (M,) each.

    Returns:
        Both means, ``change`` (mean of the differences), its ``standard_error``, and ``relative``,
        the change as a share of the mean before.
    """
    change = after - before
    error = float(change.std(ddof=1) / math.sqrt(len(change))) if len(change) > 1 else math.inf
    return {
        "before": float(before.mean()),
        "after": float(after.mean()),
        "change": float(change.mean()),
        "standard_error": error,
        "relative": float(change.mean() / before.mean()),
        "crystals": len(change),
    }


def verdict(compared: Mapping[str, Mapping[str, float]], tolerance: float) -> str:
    """Say why a new model is not taken; empty where it is.

    Args:
        compared: :func:`compare` of ``found`` and ``original`` held-out crystals.
        tolerance: How much the loss on original ones may rise, relative.
    """
    found, original = compared["found"], compared["original"]
    if not found["change"] < -found["standard_error"]:
        return (
            f"the loss on found crystals that were held out does not fall: {found['change']:+.4f} "
            f"+- {found['standard_error']:.4f}"
        )
    if original["relative"] > tolerance:
        return (
            f"the loss on original crystals rises by {original['relative']:.1%}, more than "
            f"{tolerance:.1%}"
        )
    return ""
