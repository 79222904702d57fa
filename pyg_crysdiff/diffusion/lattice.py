"""DDPM on lattice matrices (arXiv 2406.09263, eqs 1 to 3)."""

from __future__ import annotations

from torch import Tensor

from pyg_crysdiff.diffusion.field import FieldDiffusion, per_row
from pyg_crysdiff.diffusion.schedules import cosine_alpha_bar


class LatticeDDPM(FieldDiffusion):
    r"""Gaussian diffusion of the 3 x 3 row lattice with noise prediction.

    .. math::
        L_t = \sqrt{\bar\alpha_t} L_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon, \qquad
        \mathcal{L} = |\epsilon - \hat\epsilon|^2

    The reverse step from t to any s < t is the Gaussian posterior q(L_s | L_t, L_0) at the
    estimate of L_0; for s = t - 1 this is the paper's mean and
    :math:`\Sigma_t = \beta_t (1 - \bar\alpha_{t-1}) / (1 - \bar\alpha_t)`.

    Near t = T the estimate of L_0 divides by a vanishing signal level and can leave the range
    of the data by orders of magnitude, which few-step samplers do not recover from. With
    ``max_length`` every row of the estimate is shortened to at most that length; this keeps
    its direction, hence the equivariance.

    Args:
        num_steps: T.
        s: Offset of the cosine schedule.
        max_beta: Upper bound of one beta.
        max_length: Longest lattice vector of an estimate, in the units of the process;
            ``None`` leaves the estimate as it is.
    """

    noise_dim = 9
    alpha_bar: Tensor

    def __init__(
        self,
        num_steps: int = 1000,
        s: float = 0.008,
        max_beta: float = 0.999,
        max_length: float | None = None,
    ) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.max_length = max_length
        self.register_buffer(
            "alpha_bar", cosine_alpha_bar(num_steps, s, max_beta), persistent=False
        )

    def prior(self, noise: Tensor) -> Tensor:
        """Standard normal matrices, (B, 9) -> (B, 3, 3)."""
        return noise.view(-1, 3, 3)

    def corrupt(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Sample q(L_t | L_0), eq. 2; shapes (B, 3, 3), noise (B, 9)."""
        a = per_row(self.alpha_bar, t, x0)
        return a.sqrt() * x0 + (1 - a).sqrt() * noise.view(-1, 3, 3)

    def loss(self, prediction: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of the predicted noise over the nine entries, eq. 3; shape (B,)."""
        del x0, x_t, t
        return (prediction - noise.view(-1, 3, 3)).square().mean((1, 2))

    def estimate(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """Return the estimate of L_0 that the predicted noise implies, bounded by max_length."""
        a = per_row(self.alpha_bar, t, x_t)
        x0 = (x_t - (1 - a).sqrt() * prediction) / a.sqrt()
        if self.max_length is not None:
            length = x0.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            x0 = x0 * (self.max_length / length).clamp(max=1.0)
        return x0

    def step(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Sample the posterior q(L_s | L_t, estimate of L_0)."""
        a_t, a_s = per_row(self.alpha_bar, t, x_t), per_row(self.alpha_bar, s, x_t)
        ratio = a_t / a_s
        x0 = self.estimate(x_t, prediction, t)
        mean = (a_s.sqrt() * (1 - ratio) * x0 + ratio.sqrt() * (1 - a_s) * x_t) / (1 - a_t)
        variance = (1 - ratio) * (1 - a_s) / (1 - a_t)
        return mean + variance.clamp(min=0).sqrt() * noise.view(-1, 3, 3)
