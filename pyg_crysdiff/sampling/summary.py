"""What a checkpoint is, in plain data: its training, what can be asked of it, how it is sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
from pymatgen.core import Element

from pyg_crysdiff.data.names import unit_of
from pyg_crysdiff.models.checkpoint import LoadedModel
from pyg_crysdiff.sampling.choice import recommended


def summarise(loaded: LoadedModel) -> dict[str, Any]:
    """Return what a person wants to know of a checkpoint, JSON-able; nothing is sampled.

    ``network_calls`` are those for one crystal that is asked for a property, with the recommended
    sampler and guidance. Units are known for models of the published data sets, None for others.

    Raises:
        ValueError: If the card recommends what is no sampler of the model.
    """
    model, card = loaded.model, loaded.card
    return {
        "file": {
            "path": str(loaded.path),
            "bytes": loaded.path.stat().st_size,
            "digest": loaded.digest,
            "version": card.get("version"),
        },
        "trained_on": {
            "dataset": card.get("dataset"),
            "split": card.get("split"),
            "num_crystals": card.get("num_train", model.statistics.num_crystals),
            **_training_set(loaded),
        },
        "model": {
            "family": model.family,
            "conditioner": loaded.config["conditioner"]["_target_"].rpartition(".")[2],
            "num_parameters": sum(p.numel() for p in model.parameters()),
            "needs_formula": model.needs_formula,
            "takes_sizes": model.takes_sizes,
        },
        "training": {
            name: card[name]
            for name in ("training_seconds", "global_step", "hardware")
            if card.get(name) is not None
        },
        "sampling": _sampling(loaded),
        "metrics": card.get("metrics"),
        "licence": card.get("licence"),
    }


def _training_set(loaded: LoadedModel) -> dict[str, Any]:
    """Return properties, elements and sizes of the training set."""
    statistics = loaded.model.statistics
    dataset = loaded.config.get("data", {}).get("name")
    sizes = np.repeat(list(statistics.num_atoms), list(statistics.num_atoms.values()))
    return {
        "properties": {
            name: {
                "unit": unit_of(dataset, name),
                "minimum": p.minimum,
                "mean": p.mean,
                "maximum": p.maximum,
            }
            for name, p in statistics.properties.items()
        },
        "elements": [Element.from_Z(z).symbol for z in statistics.elements],
        "num_atoms": {
            "minimum": int(sizes.min()), "mean": float(sizes.mean()), "maximum": int(sizes.max()),
        },
    }  # fmt: skip


def _sampling(loaded: LoadedModel) -> dict[str, Any]:
    choice, model = recommended(loaded), loaded.model
    model.check_sampler(choice.sampler)
    guided = bool(model.properties) and choice.guidance not in (0, 1)
    return {
        "sampler": choice.sampler.to_dict(),
        "in_words": str(choice.sampler),
        "from": choice.origin,
        "guidance": choice.guidance,
        "num_atoms": choice.num_atoms if model.takes_sizes else "generated",
        "network_calls": choice.sampler.calls(model.num_steps) * (2 if guided else 1),
    }
