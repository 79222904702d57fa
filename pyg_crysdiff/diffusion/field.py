"""The interface that every diffused field of a crystal implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

NoiseKind = Literal["normal", "uniform"]


class FieldDiffusion(nn.Module, ABC):
    """Forward and reverse process of one field, as functions of explicit noise.

    No method draws random numbers: the caller passes noise, so that one seed fixes one
    crystal whatever the batch it is in. Rows are atoms or crystals; times ``t`` and ``s``
    are integers per row, shape (rows,), with ``0 <= s < t <= T``; 0 is clean data.

    Attributes:
        num_steps: T.
        prior_noise: Kind of noise that :meth:`prior` takes.
        noise_kind: Kind of noise that :meth:`corrupt` and :meth:`step` take.
        noise_dim: Number of noise values per row.
        corrects: Whether :meth:`correct` does anything.
    """

    num_steps: int
    prior_noise: NoiseKind = "normal"
    noise_kind: NoiseKind = "normal"
    noise_dim: int = 1
    corrects: bool = False

    @abstractmethod
    def prior(self, noise: Tensor) -> Tensor:
        """Map noise of shape (rows, noise_dim) to a sample of the prior at t = T."""

    @abstractmethod
    def corrupt(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Sample q(x_t | x_0)."""

    @abstractmethod
    def loss(self, prediction: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return the training loss per row, shape (rows,)."""

    @abstractmethod
    def step(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Sample p(x_s | x_t) with the network's prediction at t."""

    def correct(
        self, x_t: Tensor, prediction: Tensor, t: Tensor, noise: Tensor, renewal: float = 0.0
    ) -> Tensor:
        """Move x_t towards its own marginal at time t; no move by default."""
        del prediction, t, noise, renewal
        return x_t


def per_row(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """Look up a schedule at times t and shape it to broadcast over ``like``'s trailing axes."""
    return table[t].to(like.dtype).view(-1, *[1] * (like.dim() - 1))
