"""Checkpoints that carry all that sampling needs: weights, configuration, data statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models.build import PACKAGE, Generator, build_model

FORMAT = 1
KEY = "pyg_crysdiff"


@dataclass(frozen=True)
class LoadedModel:
    """A model read from a file.

    Attributes:
        model: The generator, in eval mode, with averaged (EMA) weights.
        config: Training configuration as plain containers.
        card: Data set, split, versions, epochs and other facts of the training.
        digest: First 16 hex digits of the file's SHA-256.
        path: The file.
    """

    model: Generator
    config: dict[str, Any]
    card: dict[str, Any]
    digest: str
    path: Path


def pack(
    config: Mapping[str, Any], statistics: DataStatistics, card: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a checkpoint stores under :data:`KEY` beside the weights."""
    return {
        "format": FORMAT,
        "config": dict(config),
        "statistics": statistics.to_dict(),
        "card": dict(card),
    }


def file_digest(path: Path) -> str:
    """Return the first 16 hex digits of a file's SHA-256."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()[:16]


def load_checkpoint(
    path: str | Path, device: torch.device | str = "cpu", trusted: Sequence[str] = ()
) -> LoadedModel:
    """Load a generator from a training checkpoint, without executing anything in the file.

    Args:
        path: A ``.ckpt`` written in training.
        device: Where to put the model.
        trusted: Packages besides this one whose conditioners the checkpoint may name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, is no checkpoint of this package, is of a newer
            format, or names a conditioner that is not trusted.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever it meets in damaged bytes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is truncated, damaged, or holds more than tensors and plain data "
            f"({reason}); copy it again or train anew"
        ) from error
    if not isinstance(raw, dict) or KEY not in raw:
        raise ValueError(f"{path} is not a checkpoint of {PACKAGE}")
    packed = raw[KEY]
    if packed.get("format", 0) > FORMAT:
        raise ValueError(f"{path} was written by a newer version of {PACKAGE}; please upgrade")
    statistics = DataStatistics.from_dict(packed["statistics"])
    model = build_model(packed["config"], statistics, (PACKAGE, *trusted))
    prefix = "model."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in raw["state_dict"].items()
        if name.startswith(prefix)
    }
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit its configuration: {error}") from error
    card = {**packed["card"], "epoch": raw.get("epoch"), "global_step": raw.get("global_step")}
    return LoadedModel(model.to(device).eval(), packed["config"], card, file_digest(path), path)
