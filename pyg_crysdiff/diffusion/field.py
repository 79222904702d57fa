"""The interface that every diffused field of a crystal implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from pyg_crysdiff.platform import DoubleTable

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
        given: Whether the field is given in sampling, and never generated.
        renews: Whether :meth:`renew` makes all noise anew.
    """

    num_steps: int
    prior_noise: NoiseKind = "normal"
    noise_kind: NoiseKind = "normal"
    noise_dim: int = 1
    given: bool = False
    renews: bool = False

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

    def renew(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Step from t to s with noise that is new as far as possible; the ordinary step if not."""
        return self.step(x_t, prediction, t, s, noise)

    def solve(
        self,
        x_t: Tensor,
        prediction: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor,
        earlier: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Step from t to s along the probability flow, for samplers of few steps.

        A field that has no such flow makes its ordinary step.

        Args:
            x_t: State at t.
            prediction: The network's prediction at t.
            t: Times.
            s: Earlier times.
            noise: Noise for a field whose step needs some.
            earlier: Time and estimate of the step before; None in the first.

        Returns:
            State at s and the estimate that the next step takes as ``earlier``; None without.
        """
        del earlier
        return self.step(x_t, prediction, t, s, noise), None

    def correct(
        self, x_t: Tensor, prediction: Tensor, t: Tensor, noise: Tensor, renewal: float = 0.0
    ) -> Tensor:
        """Move x_t towards its own marginal at time t; no move by default."""
        del prediction, t, noise, renewal
        return x_t


class Schedule(DoubleTable):
    """A table over the times 0..T, shape (T + 1,)."""

    def at(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the values at times t, of the same shape and on the same device."""
        return self.on(t.device, dtype)[t]

    def per_row(self, t: Tensor, like: Tensor) -> Tensor:
        """Return the values at times t (rows,), shaped to broadcast over ``like``'s other axes."""
        return self.at(t, like.dtype).view(-1, *[1] * (like.dim() - 1))


def second_order(change: Tensor, last: Tensor, log_snr: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    r"""Return what a step of DPM-Solver++(2M) adds to the estimate of x_0.

    .. math:: \frac{h}{2 h'} (\hat x_0(t) - \hat x_0(t')), \qquad
        h = \lambda_s - \lambda_t, \quad h' = \lambda_t - \lambda_{t'}

    Lu et al., arXiv 2211.01095, Algorithm 2, with :math:`\lambda` half the log of the signal to
    noise ratio. The step to clean data is of first order: there :math:`\lambda` has no bound.

    Args:
        change: Difference of the estimates at t and t' (wrapped, for periodic fields).
        last: Whether the step goes to clean data, broadcastable.
        log_snr: :math:`\lambda` at t', t and s.
    """
    lambda_before, lambda_t, lambda_s = log_snr
    factor = (lambda_s - lambda_t) / (2 * (lambda_t - lambda_before))
    return torch.where(last, 0.0, factor * change)
