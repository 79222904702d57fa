"""Squared errors of the parts of a representation, and of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from pyg_crysdiff.platform import sent

_PARTS = ("descriptor", "composition", "cell")  # N belongs to the last


class PartLoss:
    """Mean squared errors over the coordinates that vary in the training set.

    Coordinates that carry nothing are noise alone and would only dilute the loss.

    Args:
        sizes: Coordinates of descriptor, composition, and cell with N.
        weights: Their shares in the total; None for as much as they have coordinates that vary.

    Raises:
        ValueError: If the weights are not three positive numbers.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float] | None = None) -> None:
        if weights is not None and (len(weights) != 3 or min(weights) <= 0):
            raise ValueError(f"part_weights must be three positive numbers, got {list(weights)}")
        self.sizes, self.weights = tuple(sizes), weights
        self._varying: dict[str, Tensor] | None = None  # places of what varies, looked up once

    def forget(self) -> None:
        """Look up once more what varies: the scale is another one."""
        self._varying = None

    def __call__(self, squares: Tensor, extreme: Tensor) -> dict[str, Tensor]:
        """Return the mean of each part that varies, and ``total``.

        Args:
            squares: Squared errors, (B, D).
            extreme: Largest magnitude of each coordinate in the training set, (D,); 0 where it
                does not vary.
        """
        if self._varying is None:
            self._varying = self._places(extreme)
        errors = {
            name: squares.index_select(1, sent(index, squares.device)).mean()
            for name, index in self._varying.items()
        }
        weights = {name: float(len(index)) for name, index in self._varying.items()}
        if self.weights is not None:
            weights.update(zip(_PARTS, self.weights, strict=True))
        total = torch.stack([weights[name] * error for name, error in errors.items()]).sum()
        return {"total": total / sum(weights[name] for name in errors), **errors}

    def _places(self, extreme: Tensor) -> dict[str, Tensor]:
        index = (extreme > 0).nonzero().view(-1).cpu()
        ends = [sum(self.sizes[:k]) for k in range(4)]
        found = {
            name: index[(index >= start) & (index < end)]
            for name, (start, end) in zip(_PARTS, pairwise(ends), strict=True)
        }
        return {name: part for name, part in found.items() if len(part)}
