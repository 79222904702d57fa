"""Wrapped-normal score matching on fractional coordinates (arXiv 2406.09263, eqs 4 and 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyg_crysdiff.diffusion.field import FieldDiffusion, Schedule, second_order
from pyg_crysdiff.diffusion.schedules import geometric_sigma


def wrapped_normal_score(difference: Tensor, sigma: Tensor, images: int = 10) -> Tensor:
    r"""Return the score of a wrapped normal, element by element.

    .. math:: \nabla_x \log \sum_{k=-K}^{K} \exp\Bigl(-\frac{(x + k)^2}{2\sigma^2}\Bigr)
        = -\sum_k w_k \frac{x + k}{\sigma^2}

    with softmax weights w_k, which neither over- nor underflow.

    Args:
        difference: x, any shape; it is wrapped into [-1/2, 1/2) first.
        sigma: Width, broadcastable to ``difference``.
        images: K, number of periodic images on either side.
    """
    x = difference - torch.round(difference)
    shifts = torch.arange(-images, images + 1, device=x.device, dtype=x.dtype)
    shifted = x.unsqueeze(-1) + shifts
    variance = sigma.square().unsqueeze(-1)
    weights = torch.softmax(-shifted.square() / (2 * variance), dim=-1)
    return -(weights * shifted / variance).sum(-1)


def mean_squared_score(sigma: Tensor, images: int = 10) -> Tensor:
    """Return E[score^2] of a wrapped normal of each width by quadrature over one period.

    This is 1 / lambda_t of eq. 5 per coordinate. The trapezoidal rule is spectrally accurate
    for periodic integrands (three nodes per sigma give double precision); the paper uses
    Monte Carlo sampling for the same number.

    Args:
        sigma: Widths > 0, shape (T,), float64.
        images: Periodic images on either side.
    """
    shifts = torch.arange(-images, images + 1, dtype=torch.float64)
    out = torch.empty_like(sigma)
    for i, width in enumerate(sigma):
        points = max(128, math.ceil(3 / float(width)))
        nodes = (torch.arange(points, dtype=torch.float64) / points) - 0.5
        log_density = -(nodes[:, None] + shifts).square() / (2 * width**2)
        density = torch.exp(log_density).sum(-1)
        score = wrapped_normal_score(nodes, width.expand(points), images)
        out[i] = (density * score.square()).sum() / density.sum()
    return out


class WrappedNormalDiffusion(FieldDiffusion):
    r"""Score-based diffusion on the torus, variance exploding.

    The network predicts the normalised score :math:`\sqrt{\lambda_t} \nabla \log q(F_t | F_0)`
    with :math:`\lambda_t = 1 / E|\nabla \log q|^2`, so that its target has unit variance at
    every t. Sampling is the ancestral predictor with Langevin corrector of DiffCSP
    (arXiv 2309.04475, Algorithm 2); see :meth:`correct` for a second corrector.

    Args:
        num_steps: T.
        sigma_min: sigma_1, in fractional coordinates.
        sigma_max: sigma_T.
        step_size: Langevin step at t = 1; it grows with (sigma_t / sigma_1)^2.
        images: Periodic images on either side in the wrapped sums.
    """

    prior_noise = "uniform"
    noise_dim = 3
    renews = True

    def __init__(
        self,
        num_steps: int = 1000,
        sigma_min: float = 0.005,
        sigma_max: float = 0.5,
        step_size: float = 1e-5,
        images: int = 10,
    ) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.images = images
        self.step_size = step_size
        sigma = geometric_sigma(num_steps, sigma_min, sigma_max)
        scale = torch.cat([torch.ones(1), mean_squared_score(sigma[1:], images).sqrt()])
        self.widths, self.scales = Schedule(sigma), Schedule(scale)

    @property
    def sigma(self) -> Tensor:
        """Width of the noise in fractional coordinates, shape (T + 1,), float64 on the CPU."""
        return self.widths.values

    @property
    def score_scale(self) -> Tensor:
        """Root of the mean squared score, shape (T + 1,), float64 on the CPU."""
        return self.scales.values

    def prior(self, noise: Tensor) -> Tensor:
        """Uniform coordinates on the torus, (N, 3)."""
        return noise % 1.0

    def corrupt(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Sample N_w(F_0, sigma_t^2), eq. 4; shapes (N, 3)."""
        return (x0 + self.widths.per_row(t, x0) * noise) % 1.0

    def target(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the normalised score of q(F_t | F_0), (N, 3)."""
        score = wrapped_normal_score(x_t - x0, self.widths.per_row(t, x0), self.images)
        return score / self.scales.per_row(t, x0)

    def loss(self, prediction: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of the normalised score over the three axes, eq. 5; shape (N,)."""
        del noise
        return (prediction - self.target(x0, x_t, t)).square().mean(-1)

    def step(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Ancestral predictor from t to s (variance-exploding, on the torus)."""
        var_t = self.widths.per_row(t, x_t).square()
        var_s = self.widths.per_row(s, x_t).square()
        score = prediction * self.scales.per_row(t, x_t)
        spread = (var_s * (var_t - var_s) / var_t).sqrt()
        return (x_t + (var_t - var_s) * score + spread * noise) % 1.0

    def renew(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        r"""Estimate F_0 and add noise anew: :math:`F_s = F_t + \sigma_t^2 s(F_t) + \sigma_s z`.

        What :meth:`correct` with renewal 1 does at fixed t, in the step itself and without a
        network call of its own. As there, it is exact for data that are points at the scale of
        sigma and favours heavy modes elsewhere. Errors of earlier steps die out with their noise,
        where the ancestral step keeps :math:`\sigma_s^2 / \sigma_t^2` of it.
        """
        sigma_t, sigma_s = self.widths.per_row(t, x_t), self.widths.per_row(s, x_t)
        score = prediction * self.scales.per_row(t, x_t)
        return (x_t + sigma_t.square() * score + sigma_s * noise) % 1.0

    def solve(
        self,
        x_t: Tensor,
        prediction: Tensor,
        t: Tensor,
        s: Tensor,
        noise: Tensor,
        earlier: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Step along the probability flow :math:`dF / d\sigma = -\sigma\, s(F)` on the torus.

        Of second order from the second step on: DPM-Solver++(2M) with the estimate
        :math:`F + \sigma^2 s`, differences of which are taken the short way round.
        """
        del noise
        sigma_t, sigma_s = self.widths.per_row(t, x_t), self.widths.per_row(s, x_t)
        move = sigma_t.square() * prediction * self.scales.per_row(t, x_t)
        found = x_t + move
        if earlier is not None:
            before = self.widths.per_row(earlier[0], x_t)
            change = found - earlier[1]
            log_snr = (-before.log(), -sigma_t.log(), -sigma_s.clamp(min=1e-12).log())
            move = move + second_order(change - change.round(), sigma_s == 0, log_snr)
        return (x_t + (1 - sigma_s / sigma_t) * move) % 1.0, found

    def correct(
        self, x_t: Tensor, prediction: Tensor, t: Tensor, noise: Tensor, renewal: float = 0.0
    ) -> Tensor:
        r"""One move at fixed t.

        With renewal 0, DiffCSP's Langevin step of size step_size (sigma_t / sigma_1)^2. It
        leaves a normal distribution of variance sigma^2 wider by 1 / (1 - step / 2 sigma^2), so
        that only small steps are any good.

        With renewal r in (0, 1]: :math:`F + r \sigma^2 s + \sqrt{1 - (1 - r)^2} \sigma z`, the
        exact step of an Ornstein-Uhlenbeck process, which may replace the noise at once: a few
        moves go as far as dozens of Langevin steps. It is exact where the score s is that of
        N(F_0, sigma^2), i.e. where the data are points at the scale of sigma; spread data it
        narrows by up to r^2 sigma^2, in favour of heavy modes. A choice of quality over
        diversity, made in sampling.
        """
        sigma = self.widths.per_row(t, x_t)
        score = prediction * self.scales.per_row(t, x_t)
        if renewal:
            spread = math.sqrt(1 - (1 - renewal) ** 2) * sigma
            return (x_t + renewal * sigma.square() * score + spread * noise) % 1.0
        step = self.step_size * (sigma / self.sigma[1].to(x_t.dtype)) ** 2
        return (x_t + step * score + (2 * step).sqrt() * noise) % 1.0
