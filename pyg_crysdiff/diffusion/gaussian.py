"""Gaussian diffusion with noise prediction, for fields of any shape."""

from __future__ import annotations

import math

from torch import Tensor

from pyg_crysdiff.diffusion.field import FieldDiffusion, Schedule, second_order
from pyg_crysdiff.diffusion.schedules import cosine_alpha_bar


class GaussianDDPM(FieldDiffusion):
    r"""DDPM (Ho et al. 2020) with cosine schedule.

    .. math:: x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad
        \mathcal{L} = |\epsilon - \hat\epsilon|^2

    The reverse step from t to any s < t is the Gaussian posterior q(x_s | x_t, x_0) at the estimate
    of x_0; for s = t - 1 it has the variance
    :math:`\beta_t (1 - \bar\alpha_{t-1}) / (1 - \bar\alpha_t)`.

    Args:
        shape: Shape of one row.
        num_steps: T.
        s: Offset of the cosine schedule.
        max_beta: Upper bound of one beta.
        limit: Largest magnitude of an entry of the estimate of x_0; None for no limit. Near t = T
            the estimate divides by a vanishing signal level and can leave the range of the data by
            orders of magnitude, which few-step samplers do not recover from.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        num_steps: int = 1000,
        s: float = 0.008,
        max_beta: float = 0.999,
        limit: float | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.num_steps, self.limit = shape, num_steps, limit
        self.noise_dim = math.prod(shape)
        self.signal = Schedule(cosine_alpha_bar(num_steps, s, max_beta))

    @property
    def alpha_bar(self) -> Tensor:
        """Cumulative signal level, shape (T + 1,), float64 on the CPU."""
        return self.signal.values

    def prior(self, noise: Tensor) -> Tensor:
        """Standard normal rows, (B, noise_dim) -> (B, *shape)."""
        return noise.view(-1, *self.shape)

    def corrupt(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Sample q(x_t | x_0); shapes (B, *shape), noise (B, noise_dim)."""
        a = self.signal.per_row(t, x0)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise.view_as(x0)

    def loss(self, prediction: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of the predicted noise over the entries of a row, shape (B,)."""
        del x_t, t
        return (prediction - noise.view_as(x0)).square().flatten(1).mean(1)

    def estimate(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """Return the estimate of x_0 that the predicted noise implies, within the limit."""
        a = self.signal.per_row(t, x_t)
        x0 = (x_t - (1 - a).sqrt() * prediction) / a.sqrt()
        return x0 if self.limit is None else x0.clamp(-self.limit, self.limit)

    def step(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Sample the posterior q(x_s | x_t, estimate of x_0)."""
        a_t, a_s = self.signal.per_row(t, x_t), self.signal.per_row(s, x_t)
        ratio = a_t / a_s
        x0 = self.estimate(x_t, prediction, t)
        mean = (a_s.sqrt() * (1 - ratio) * x0 + ratio.sqrt() * (1 - a_s) * x_t) / (1 - a_t)
        variance = (1 - ratio) * (1 - a_s) / (1 - a_t)
        return mean + variance.clamp(min=0).sqrt() * noise.view_as(x_t)

    def solve(
        self,
        x_t: Tensor,
        prediction: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor,
        earlier: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Step along the probability flow: DDIM at first, DPM-Solver++(2M) from then on.

        .. math:: x_s = \frac{\sigma_s}{\sigma_t} x_t
            + \Bigl(\alpha_s - \alpha_t \frac{\sigma_s}{\sigma_t}\Bigr) \hat x_0
        """
        del noise
        a_t, a_s = self.signal.per_row(t, x_t), self.signal.per_row(s, x_t)
        x0 = found = self.estimate(x_t, prediction, t)
        if earlier is not None:
            a_before = self.signal.per_row(earlier[0], x_t)
            log_snr = (_log_snr(a_before), _log_snr(a_t), _log_snr(a_s))
            x0 = x0 + second_order(found - earlier[1], a_s == 1, log_snr)
        keep = ((1 - a_s) / (1 - a_t)).clamp(min=0).sqrt()
        return keep * x_t + (a_s.sqrt() - keep * a_t.sqrt()) * x0, found


def _log_snr(alpha_bar: Tensor) -> Tensor:
    return 0.5 * (alpha_bar / (1 - alpha_bar).clamp(min=1e-12)).log()
