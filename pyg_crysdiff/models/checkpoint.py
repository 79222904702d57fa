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
from pyg_crysdiff.models.shipped import export_weights, find_checkpoint, read_weights

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
    """Load a generator from a checkpoint, without executing anything in the file.

    Args:
        path: A ``.ckpt`` written in training, a ``.safetensors`` of :func:`export_checkpoint`, or
            the name of one that comes with the package
            (:func:`pyg_crysdiff.models.shipped.shipped_names`).
        device: Where to put the model.
        trusted: Packages besides this one whose conditioners the checkpoint may name.

    Raises:
        FileNotFoundError: If there is no such file or name.
        ValueError: If the file is damaged, is no checkpoint of this package, is of a newer
            format, or names a conditioner that is not trusted.
    """
    path = find_checkpoint(path)
    weights, packed = read_weights(path) if path.suffix == ".safetensors" else _read(path)
    if packed.get("format", 0) > FORMAT:
        raise ValueError(f"{path} was written by a newer version of {PACKAGE}; please upgrade")
    if missing := {"config", "statistics", "card"} - set(packed):
        raise ValueError(f"{path} is damaged: it lacks {sorted(missing)}; copy it again")
    statistics = DataStatistics.from_dict(packed["statistics"])
    model = build_model(packed["config"], statistics, (PACKAGE, *trusted))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit its configuration: {error}") from error
    digest = file_digest(path)
    return LoadedModel(
        model.to(device).eval(), packed["config"], dict(packed["card"]), digest, path
    )


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read weights and facts of a training checkpoint."""
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
    prefix = "model."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in raw["state_dict"].items()
        if name.startswith(prefix)
    }
    packed = dict(raw[KEY])
    progress = {"epoch": raw.get("epoch"), "global_step": raw.get("global_step")}
    packed["card"] = {**packed["card"], **progress}
    return weights, packed


def export_checkpoint(
    model: LoadedModel,
    path: str | Path,
    *,
    facts: Mapping[str, Any] | None = None,
    half: bool = True,
) -> None:
    """Write a checkpoint to share: averaged weights as safetensors, all else as JSON beside it.

    Without the optimiser and in half precision it has a tenth of the size of a training
    checkpoint; :func:`load_checkpoint` reads it like one.

    Args:
        model: As loaded.
        path: File ending in ``.safetensors``; the card gets the suffix ``.json``.
        facts: Further facts for the card, such as metrics and the licence of the data.
        half: Store the weights in half precision.

    Raises:
        ValueError: If the suffix is another one.
    """
    # Folders of the machine stay there; what the run started from stands in the card.
    data = {**model.config["data"], "source": None, "root": None}
    config = {**model.config, "data": data, "init": None}
    card = {**model.card, **(facts or {})}
    packed = pack(config, model.model.statistics, card)
    export_weights(Path(path), model.model.state_dict(), packed, half)
