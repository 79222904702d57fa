"""What a property model is, in plain data: its training, its error, where it lies."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pyg_crysdiff.data.names import unit_of
from pyg_crysdiff.models.pretrained import FOLDER, predictor_names
from pyg_crysdiff.storage import file_digest, read_json

# Elements of the training crystals of those whose files, of an earlier version, do not tell them.
_ELEMENTS = FOLDER / "predictors.json"


def predictor_file(name: str | Path) -> Path | None:
    """Return the file of a property model of this package; None where it is something else.

    Args:
        name: File, or the name of a model that comes with the package (``perov5-predictor``).
    """
    path = Path(name)
    if not path.exists() and str(name) in predictor_names():
        return FOLDER / f"{name}.safetensors"
    if not (path.is_file() and path.suffix == ".safetensors"):
        return None
    try:
        with safe_open(path, framework="np") as handle:
            return path if "property_model" in (handle.metadata() or {}) else None
    except (SafetensorError, OSError):
        return None


def summarise_predictor(path: Path) -> dict[str, Any]:
    """Return what a person wants to know of a property model, JSON-able; None for what is unknown.

    Only the head of the file is read, without torch.

    Args:
        path: Its file.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        with safe_open(path, framework="np") as handle:
            facts = json.loads(handle.metadata()["property_model"])
            shapes = [handle.get_slice(name).get_shape() for name in handle.keys()]  # noqa: SIM118
        card, mean, std = dict(facts["card"]), float(facts["mean"]), float(facts["std"])
        name = str(card["property"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); copy it again") from error
    return {
        "kind": "predictor",
        "file": {
            "path": str(path),
            "bytes": path.stat().st_size,
            "digest": file_digest(path)[:16],
            "version": card.get("version"),
        },
        "trained_on": {
            "dataset": card.get("dataset"),
            "part": card.get("split"),
            "num_crystals": card.get("num_crystals"),
            "elements": card.get("elements") or _earlier_elements(path),
        },
        "predicts": {
            "property": name,
            "unit": _unit(str(card.get("dataset")), name),
            "mean": mean,
            "std": std,
            "held_out_mae": card.get("held_out_mae"),
            "num_held_out": card.get("num_held_out"),
        },
        "model": {"num_parameters": sum(map(math.prod, shapes))},
        "training": {
            key: card[key] for key in ("training_seconds", "epochs") if card.get(key) is not None
        },
    }


def _earlier_elements(path: Path) -> list[str] | None:
    known: dict[str, list[str]] = read_json(_ELEMENTS) if path.parent == FOLDER else {}
    return known.get(path.stem)


def _unit(title: str, name: str) -> str | None:
    """Return the unit of a property of a data set that a card calls by its title, as Perov-5."""
    return unit_of(re.sub("[^a-z0-9]", "", title.partition(",")[0].lower()), name)
