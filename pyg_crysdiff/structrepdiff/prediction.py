"""What the network of StructRepDiff predicts, and the noise that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from pyg_crysdiff.diffusion.gaussian import GaussianDDPM

Predicted = Literal["noise", "velocity"]


@dataclass(frozen=True)
class Parameterisation:
    r"""Predictions of the noise, or of the velocity.

    Args:
        process: Diffusion of the coordinates.
        predict: What the network predicts: the ``noise`` (arXiv 2408.07213), or the ``velocity``
            :math:`\sqrt{\bar\alpha} \epsilon - \sqrt{1 - \bar\alpha} x_0` (Salimans & Ho, arXiv
            2202.00512), whose error at high noise does not explode in the estimate of x_0.
        margin: Estimates of x_0 further from the mean than this times the furthest training value
            are cut; None for no cut.

    Raises:
        ValueError: If ``predict`` is unknown.
    """

    process: GaussianDDPM
    predict: Predicted = "noise"
    margin: float | None = 1.1

    def __post_init__(self) -> None:
        """Check what is predicted."""
        if self.predict not in get_args(Predicted):
            raise ValueError(f"predict must be one of {get_args(Predicted)}, got {self.predict!r}")

    def scales(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scales of signal and noise at times t, (B, 1) each."""
        a = self.process.signal.per_row(t, x)
        return a.sqrt(), (1 - a).sqrt()

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the network is to predict, (B, D)."""
        if self.predict == "noise":
            return noise
        signal, scale = self.scales(clean, t)
        return signal * noise - scale * clean

    def noise(self, x: Tensor, t: Tensor, prediction: Tensor, extreme: Tensor) -> Tensor:
        """Return the noise predicted, with the estimate it implies within the data's range.

        Args:
            x: Noised coordinates, (B, D).
            t: Times, (B,).
            prediction: Prediction of the network, (B, D).
            extreme: Largest magnitude of each coordinate in the training set, (D,).
        """
        signal, scale = self.scales(x, t)
        if self.predict == "velocity":
            x0 = signal * x - scale * prediction
        elif self.margin is None:
            return prediction
        else:
            x0 = self.process.estimate(x, prediction, t)
        if self.margin is not None:
            limit = self.margin * extreme
            x0 = x0.clamp(-limit, limit)
        return (x - signal * x0) / scale
