"""What the harness needs of a model that predicts a property."""

from __future__ import annotations

from collections.abc import Sequence
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


def identity_of(predictor: PropertyPredictor) -> Any:
    """Return the optional ``identity`` of a predictor; None where it has none."""
    return getattr(predictor, "identity", None)
