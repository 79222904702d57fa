"""Checkpoints as safetensors with a JSON card: those that come with the package, and one's own."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from pyg_crysdiff.storage import read_json, replacing, write_text

if TYPE_CHECKING:
    import torch

FOLDER = Path(__file__).resolve().parent.parent / "checkpoints"
_SUFFIX = ".safetensors"
# Names of earlier versions, and what took their place.
SUCCESSORS = {"mp20-cds": "mp20-cdi"}

log = logging.getLogger(__name__)


def pretrained_names() -> list[str]:
    """Return the names of the checkpoints that come with the package."""
    return sorted(p.stem for p in FOLDER.glob(f"*{_SUFFIX}") if p.with_suffix(".json").is_file())


def predictor_names() -> list[str]:
    """Return the names of the property models that come with the package; they have no card."""
    return sorted({p.stem for p in FOLDER.glob(f"*{_SUFFIX}")} - set(pretrained_names()))


def pretrained_cards() -> dict[str, dict[str, Any]]:
    """Return what the checkpoints of the package store beside their weights, by name.

    Configuration, data statistics and card are read from JSON, without torch.
    """
    return {name: read_json(FOLDER / f"{name}.json") for name in pretrained_names()}


def find_checkpoint(path: str | Path) -> Path:
    """Return the file of a checkpoint that is given by path, or by name where one is shipped.

    A name of an earlier version gives the checkpoint that took its place, and a warning says so.

    Raises:
        FileNotFoundError: If there is neither such a file nor such a name.
    """
    file = Path(path)
    if file.is_file():
        return file
    name = SUCCESSORS.get(str(path), str(path))
    if name in pretrained_names():
        if name != str(path):
            log.warning("%s of version 0.1.0 was replaced by %s, which is used", path, name)
        return FOLDER / f"{name}{_SUFFIX}"
    names = f"with the package come: {', '.join(pretrained_names()) or 'none'}"
    models = ", ".join(predictor_names())
    if name in predictor_names():
        raise FileNotFoundError(
            f"{path} is a property model, which predicts (--predictor) and generates nothing; "
            f"of checkpoints {names}"
        )
    more = f"; and the property models {models}" if models else ""
    raise FileNotFoundError(f"no checkpoint at {path}; {names}{more}")


def check_finite(weights: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Refuse weights that are not finite, of which nothing but NaN comes.

    Args:
        weights: Name to tensor.
        path: Their file, for the message.

    Raises:
        ValueError: With the file and the first such tensor.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{path}: the weights {name} are not finite, as after a training that diverged; "
                "use an earlier checkpoint or train anew"
            )


def export_weights(
    path: Path, weights: Mapping[str, torch.Tensor], packed: Mapping[str, Any], half: bool
) -> None:
    """Write ``path`` (safetensors) and, beside it, the same name with ``.json``.

    Args:
        path: File with the suffix ``.safetensors``.
        weights: Name to tensor.
        packed: Configuration, data statistics and card; JSON-able.
        half: Store floating-point weights in half precision.

    Raises:
        ValueError: If the suffix is another one, or weights are not finite or too large for half
            precision.
    """
    from safetensors.torch import save_file  # noqa: PLC0415  (so that cards are read without torch)

    if path.suffix != _SUFFIX:
        raise ValueError(f"an exported checkpoint ends in {_SUFFIX}, got {path}")

    def stored(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.detach().cpu().contiguous()
        return tensor.half() if half and tensor.is_floating_point() else tensor

    check_finite(weights, path)
    kept = {name: stored(tensor) for name, tensor in weights.items()}
    try:
        check_finite(kept, path)
    except ValueError as error:
        raise ValueError(f"{path}: weights are too large for half precision; use full") from error
    with replacing(path) as temporary:
        save_file(kept, temporary)
    write_text(path.with_suffix(".json"), json.dumps(packed, indent=1) + "\n")


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what :func:`export_weights` wrote; weights in float32.

    Raises:
        FileNotFoundError: If the JSON card is missing.
        ValueError: If a file is damaged.
    """
    from safetensors.torch import load_file  # noqa: PLC0415

    card = path.with_suffix(".json")
    if not card.is_file():
        raise FileNotFoundError(f"{path} lacks its card {card.name} in the same folder")
    try:
        weights = load_file(path)
        packed = read_json(card)
    except (SafetensorError, ValueError, OSError) as error:
        raise ValueError(f"{path} or its card is damaged: {error}; copy it again") from error
    if not isinstance(packed, dict):
        raise ValueError(f"{card} is not the card of a checkpoint")
    wide = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    return wide, packed
