"""The two property models of a benchmark: one judges, and another one may choose.

The *evaluator* judges all rows: CDVAE's own for the published data sets, elsewhere one that is
trained on the test split, which no generator saw. The *predictor* is trained on the generators' own
training set and chooses among candidates. It is never the evaluator, which would find its own
errors in what it has chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from pyg_crysdiff.benchmark.range_plots import draw_calibration
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.data import Crystal, CrystalDataset
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.evaluation.predictor import describe_predictor
from pyg_crysdiff.property.judges import find_evaluator, measured_card, same_model
from pyg_crysdiff.property.model import PRESETS, PropertyModel
from pyg_crysdiff.property.training import train_evaluator

_DRAWN = 500  # crystals in the plot of the evaluator's errors


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
        ValueError: If it predicts another property, or CDVAE has no evaluator of the data set.
        ConnectionError: If CDVAE's evaluators cannot be downloaded.
    """
    chosen: str = getattr(settings, role)
    minutes: float = getattr(settings, f"{role}_minutes")
    if chosen not in PRESETS:
        model = find_evaluator(chosen, data)
        if role == "evaluator":  # of another property it is refused below
            model.card = measured_card(model, data.crystals())
        say(f"{role}: {describe_predictor(model.card)}")
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
        raise ValueError(
            f"the {role} {chosen} predicts {model.property_name!r}, not {property_name!r}; train "
            f"one of this property here (--{role} standard), or name its file (crysdiff "
            "train-evaluator)"
        )
    return model


def check_independent(
    settings: Settings, evaluator: PropertyModel, data: CrystalDataset
) -> PropertyModel:
    """Return the evaluator; refuse it before anything is trained where it would also choose.

    Raises:
        ValueError: If the predictor that chooses among several draws is the evaluator itself.
    """
    chooses = settings.draws > 1 and settings.predictor not in PRESETS
    if chooses and same_model(evaluator, find_evaluator(settings.predictor, data)):
        raise ValueError(
            f"the predictor {settings.predictor}, which chooses, is the evaluator, which judges: "
            "it would find its own errors in what it has chosen. Name another one with --predictor "
            "(standard trains it on the training set), or another --evaluator"
        )
    return evaluator


def unseen(
    evaluator: PropertyModel, train: Sequence[Crystal], test: Sequence[Crystal]
) -> tuple[str, list[Crystal]]:
    """Return crystals of known value that the evaluator was not trained on, with a title.

    One that was trained here on the test split never saw the training crystals. CDVAE's own were
    trained on training crystals, and of others nothing is known: for them it is the test crystals.
    """
    name, card = evaluator.property_name, evaluator.card
    if "held_out_mae" in card and card.get("split", "test") == "test":
        return "The evaluator, on training crystals, which it never saw", with_value(train, name)
    never = ", which it never saw" if "trained_on" in card else ""
    return f"The evaluator, on test crystals{never}", with_value(test, name)


def draw_errors(
    path: Path,
    evaluator: PropertyModel,
    crystals: Sequence[Crystal],
    thresholds: Mapping[str, float],
    seed: int,
) -> Path:
    """Draw the evaluator's predictions of some crystals over their true values.

    Args:
        path: Picture.
        evaluator: The judge.
        crystals: Crystals of known value; 500 of them are drawn at random.
        thresholds: Limits of the success rates, by name.
        seed: Seed of the choice.
    """
    order = np.random.default_rng(seed).permutation(len(crystals))
    some = [crystals[i] for i in order[:_DRAWN]]
    true = np.array([c.info[evaluator.property_name] for c in some])
    return draw_calibration(
        path, true, evaluator.predict(some), thresholds, evaluator.property_name
    )


def thresholds_origin(dataset: CrystalDataset) -> str:
    """Say where the limits of the success rates come from."""
    if dataset.success_thresholds is None:
        return "5, 10, 15 % points of this training set"
    return f"official constants of {type(dataset).__name__} (whole set), as in CDVAE's script"
