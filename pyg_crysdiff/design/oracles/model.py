"""A property model as oracle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.design.given import model_identity
from pyg_crysdiff.design.oracles.answering import usable
from pyg_crysdiff.evaluation.predictor import PropertyPredictor
from pyg_crysdiff.property.judges import find_evaluator
from pyg_crysdiff.property.model import PropertyModel

_AT_ONCE = 256  # crystals


class ModelOracle:
    """A model that predicts a property; its number has the name of the property.

    Args:
        model: The model, or what :func:`pyg_crysdiff.property.judges.find_evaluator` knows: a
            file, a name such as ``perov5-predictor``, ``cdvae:perov5``.
        device: Device of PyTorch, for a model of this package.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If its file is damaged.
    """

    def __init__(self, model: PropertyPredictor | str | Path, *, device: str = "cpu") -> None:
        self._model = find_evaluator(model) if isinstance(model, str | Path) else model
        if isinstance(self._model, PropertyModel):
            self._model.network.to(device)
        self.names = (self._model.property_name,)
        self.title = f"model {model}" if isinstance(model, str | Path) else "model"

    @cached_property
    def identity(self) -> str:
        """Digest of the weights, or of what the model says that decides its predictions."""
        return f"{model_identity(self._model)} -> {self.names[0]}"

    def ask(self, crystals: Mapping[str, Crystal]) -> Iterator[tuple[str, Answer]]:
        """See :class:`pyg_crysdiff.design.Oracle`."""
        good, bad = usable(crystals)
        yield from bad.items()
        keys = list(good)
        for start in range(0, len(keys), _AT_ONCE):
            part = keys[start : start + _AT_ONCE]
            values = np.asarray(self._model.predict([good[key] for key in part]))
            for key, value in zip(part, values.tolist(), strict=True):
                if np.isfinite(value):
                    yield key, Answer({self.names[0]: value}, facts={"model": self.title})
                else:
                    yield key, Answer.failed("the model gave no number", model=self.title)
