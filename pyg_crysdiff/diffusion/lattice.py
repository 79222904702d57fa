"""DDPM on lattice matrices (arXiv 2406.09263, eqs 1 to 3)."""

from __future__ import annotations

from torch import Tensor

from pyg_crysdiff.diffusion.gaussian import GaussianDDPM


class LatticeDDPM(GaussianDDPM):
    r"""Gaussian diffusion of the 3 x 3 row lattice with noise prediction.

    :class:`GaussianDDPM` is the paper's eqs 1 to 3 with
    :math:`\Sigma_t = \beta_t (1 - \bar\alpha_{t-1}) / (1 - \bar\alpha_t)`. With ``max_length``
    every row of the estimate of L_0 is shortened to at most that length; unlike a limit on the
    entries this keeps its direction, hence the equivariance.

    Args:
        num_steps: T.
        s: Offset of the cosine schedule.
        max_beta: Upper bound of one beta.
        max_length: Longest lattice vector of an estimate, in the units of the process;
            ``None`` leaves the estimate as it is.
    """

    def __init__(
        self,
        num_steps: int = 1000,
        s: float = 0.008,
        max_beta: float = 0.999,
        max_length: float | None = None,
    ) -> None:
        super().__init__((3, 3), num_steps, s, max_beta)
        self.max_length = max_length

    def estimate(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """Return the estimate of L_0 that the predicted noise implies, bounded by max_length."""
        x0 = super().estimate(x_t, prediction, t)
        if self.max_length is None:
            return x0
        length = x0.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        return x0 * (self.max_length / length).clamp(max=1.0)
