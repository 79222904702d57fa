"""The two property models of a benchmark: one judges, and another one may choose.

The *evaluator* is trained on the test split, which no generator saw, and judges all rows. The
*predictor* is trained on the generators' own training set and chooses among candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.data import CrystalDataset
from pyg_crysdiff.property.cdvae import load_evaluator
from pyg_crysdiff.property.model import PRESETS, PropertyModel
from pyg_crysdiff.property.training import train_evaluator


def property_model(
    settings: Settings,
    role: Literal["evaluator", "predictor"],
    data: CrystalDataset,
    property_name: str,
    say: Callable[[str], None],
    progress: bool,
) -> PropertyModel:
    """Load the property model of a role, or train it in ``settings.out / role``.

    Raises:
        ValueError: If it predicts another property.
    """
    chosen: str = getattr(settings, role)
    minutes: float = getattr(settings, f"{role}_minutes")
    if chosen not in PRESETS:
        model = load_evaluator(chosen)
    else:
        split = {"evaluator": "test", "predictor": "train"}[role]
        say(f"{role}: DimeNet++ ({chosen}) on the {split} split, at most {minutes:g} min")
        model = train_evaluator(
            data.crystals(),
            property_name,
            settings.out / role,
            preset=chosen,
            budget_minutes=minutes,
            seed=settings.seed,
            device=settings.device,
            facts={"dataset": data.display_name, "split": split},
            progress=progress,
        )
    if model.property_name != property_name:
        raise ValueError(f"the {role} predicts {model.property_name!r}, not {property_name!r}")
    return model


def thresholds_origin(dataset: CrystalDataset) -> str:
    """Say where the limits of the success rates come from."""
    if dataset.success_thresholds is None:
        return "5, 10, 15 % points of this training set"
    return f"official constants of {type(dataset).__name__} (whole set), as in CDVAE's script"
