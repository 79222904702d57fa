"""What the harness needs of a model that predicts a property."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal


class PropertyPredictor(Protocol):
    """Anything that predicts one scalar property of crystals: no base class is needed.

    :class:`pyg_crysdiff.property.model.PropertyModel` is one.

    A predictor may also have an attribute ``identity``: JSON-able facts that decide what it
    predicts, such as the digest of its weights. Evaluations are kept on disk and used again only
    for predictors of equal identity; without one they are made anew each time.
    """

    @property
    def property_name(self) -> str:
        """Name of the property, as crystals carry it in ``info``."""

    def predict(
        self, crystals: Sequence[Crystal | BrokenEntry], *, progress: bool = False
    ) -> NDArray[np.float64]:
        """Return one value per crystal, (M,); NaN for what it cannot predict, such as broken ones.

        Args:
            crystals: Crystals and broken entries of a sample file.
            progress: Show a progress bar.
        """


def describe_predictor(card: Mapping[str, Any]) -> str:
    """Say in one line who judges and how well, for the heads of tables and reports.

    Args:
        card: Card of a property model, as it stands in ``results.json``: ``held_out_mae`` and
            ``num_held_out`` for one that was trained here, ``test_mae`` and ``num_test`` where its
            error was measured on test crystals.
    """
    split = card.get("split", "test")
    unseen = ", which no generator saw" if split == "test" else ""
    who = f"DimeNet++ trained on the {split} split{unseen}"
    if "held_out_mae" in card:
        error, count = card["held_out_mae"], card["num_held_out"]
        return f"{who}; held-out MAE {error:.4f} on {count} crystals"
    who = card.get("name") or str(card.get("source", "an evaluator without a card"))
    if "sha256" in card:
        who += f" ({card['source']}; SHA-256 {card['sha256'][:12]})"
    if "trained_on" in card:
        who += f", trained on {card['trained_on']}"
    if "test_mae" not in card:
        return f"{who}; its error is not measured"
    return f"{who}; mean absolute error {card['test_mae']:.4f} on {card['num_test']} test crystals"


def identity_of(predictor: PropertyPredictor) -> Any:
    """Return the optional ``identity`` of a predictor; None where it has none."""
    return getattr(predictor, "identity", None)
