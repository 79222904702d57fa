"""Checkpoints that carry all that sampling needs: weights, configuration, data statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pyg_crysdiff import storage
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.errors import first_line
from pyg_crysdiff.models.build import PACKAGE, build_denoiser, build_model
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.models.pretrained import (
    check_finite,
    export_weights,
    find_checkpoint,
    read_weights,
)
from pyg_crysdiff.models.shapes import weight_shapes

FORMAT = 1
KEY = "pyg_crysdiff"
# Largest number in each part of a configuration that decides how much memory a model takes.
_LARGEST = {
    "denoiser": 1e4, "unet": 1e4, "conditioner": 1e4, "process": 1e6, "descriptor": 1e4,
    "reconstruction": 1e6, "statistics": math.inf,
}  # fmt: skip
# What classes raise that are given settings of another kind.
_UNUSABLE = (
    TypeError, KeyError, AttributeError, IndexError, ArithmeticError, RecursionError, RuntimeError,
)  # fmt: skip


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
    return storage.file_digest(path)[:16]


def load_checkpoint(
    path: str | Path, device: torch.device | str = "cpu", trusted: Sequence[str] = ()
) -> LoadedModel:
    """Load a generator from a checkpoint, without executing anything in the file.

    Args:
        path: A ``.ckpt`` written in training, a ``.safetensors`` of :func:`export_checkpoint`, or
            the name of one that comes with the package
            (:func:`pyg_crysdiff.models.pretrained.pretrained_names`).
        device: Where to put the model.
        trusted: Packages besides this one whose conditioners the checkpoint may name.

    Raises:
        FileNotFoundError: If there is no such file or name.
        ValueError: If the file is damaged, is no checkpoint of this package, is of a newer
            format, or names a conditioner that is not trusted.
    """
    path = find_checkpoint(path)
    weights, packed = read_weights(path) if path.suffix == ".safetensors" else _read(path)
    version = packed.get("format", 0)
    if not isinstance(version, int) or version > FORMAT:
        raise ValueError(f"{path} was written by a newer version of {PACKAGE}; please upgrade")
    wrong = [k for k in ("config", "statistics", "card") if not isinstance(packed.get(k), dict)]
    if wrong:
        raise ValueError(f"{path} is damaged: it lacks {wrong}; copy it again")
    check_finite(weights, path)
    try:
        model = _build(packed, weights, trusted)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except _UNUSABLE as error:
        reason = first_line(error)
        raise ValueError(
            f"{path} is damaged: its configuration or statistics cannot be used "
            f"({type(error).__name__}: {reason:.200}); copy it again"
        ) from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the weights in {path} do not fit its configuration: {error}") from error
    digest = file_digest(path)
    return LoadedModel(
        model.to(device).eval(), packed["config"], dict(packed["card"]), digest, path
    )


def _build(
    packed: Mapping[str, Any], weights: Mapping[str, torch.Tensor], trusted: Sequence[str]
) -> Generator:
    """Build the model of a checkpoint, once its settings are known to be of its size."""
    config, trusted = packed["config"], (PACKAGE, *trusted)
    for part, largest in _LARGEST.items():
        section = packed["statistics"] if part == "statistics" else config.get(part)
        for number in _numbers(section):
            if not (math.isfinite(number) and abs(number) <= largest):
                raise ValueError(f"its {part} has the number {number:.6g}, which no model has")
    statistics = DataStatistics.from_dict(packed["statistics"])
    prefix = "denoiser."
    found = {k.removeprefix(prefix): v.shape for k, v in weights.items() if k.startswith(prefix)}
    shapes = weight_shapes(partial(build_denoiser, config, statistics, trusted)) or found
    if different := sorted(k for k in {*shapes, *found} if shapes.get(k) != found.get(k)):
        raise ValueError(f"its weights do not fit its configuration (different: {different[:3]})")
    return build_model(config, statistics, trusted)


def _numbers(value: Any) -> Iterator[float]:
    """Yield all numbers in nested plain containers."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield float(value)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read weights and facts of a training checkpoint."""
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever it meets in damaged bytes
        reason = first_line(error)
        raise ValueError(
            f"{path} is truncated, damaged, or holds more than tensors and plain data "
            f"({reason}); copy it again or train anew"
        ) from error
    if not isinstance(raw, dict) or not isinstance(raw.get(KEY), dict):
        raise ValueError(f"{path} is not a checkpoint of {PACKAGE}")
    packed, state = dict(raw[KEY]), raw.get("state_dict")
    if not (isinstance(state, dict) and isinstance(packed.get("card"), dict)):
        raise ValueError(f"{path} is damaged: it lacks weights or card; copy it again")
    prefix = "model."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
    progress = {"epoch": raw.get("epoch"), "global_step": raw.get("global_step")}
    packed["card"] = {**packed["card"], **progress}
    return weights, packed


def export_checkpoint(
    model: LoadedModel,
    path: str | Path,
    *,
    facts: Mapping[str, Any] | None = None,
    half: bool = True,
    reconstruction: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint to share: averaged weights as safetensors, all else as JSON beside it.

    Without the optimiser and in half precision it has a tenth of the size of a training
    checkpoint; :func:`load_checkpoint` reads it like one.

    Args:
        model: As loaded.
        path: File ending in ``.safetensors``; the card gets the suffix ``.json``.
        facts: Further facts for the card, such as metrics and the licence of the data.
        half: Store the weights in half precision.
        reconstruction: Settings that replace those of the search for coordinates, as in
            ``configs/reconstruction``; for models that have one (StructRepDiff).

    Raises:
        ValueError: If the suffix is another one, weights are not finite or too large for half
            precision, or the model has no such search.
    """
    # Folders of the machine stay there; what the run started from stands in the card.
    data = {**model.config["data"], "source": None, "root": None}
    config = {**model.config, "data": data, "init": None}
    if reconstruction is not None:
        if "reconstruction" not in config:
            raise ValueError(f"{model.path} has no search for coordinates that could be replaced")
        config["reconstruction"] = dict(reconstruction)
    card = {**model.card, **(facts or {})}
    packed = pack(config, model.model.statistics, card)
    export_weights(Path(path), model.model.state_dict(), packed, half)
