"""DDPM on lattice matrices (arXiv 2406.09263, eqs 1 to 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_crysdiff.diffusion.gaussian import GaussianDDPM


class LatticeDDPM(GaussianDDPM):
    r"""Gaussian diffusion of the 3 x 3 row lattice with noise prediction.

    :class:`GaussianDDPM` is the paper's eqs 1 to 3 with
    :math:`\Sigma_t = \beta_t (1 - \bar\alpha_{t-1}) / (1 - \bar\alpha_t)`. With ``max_length``
    every row of the estimate of L_0 is shortened to at most that length; unlike a limit on the
    entries this keeps its direction, hence the equivariance. With ``min_width`` estimates of cells
    that are too flat are widened (:func:`widened`): L and its mirror image are equally likely
    while the noise is large, and of some hundred steps the last ones leave one crystal in a
    hundred between the two, with next to no volume.

    Args:
        num_steps: T.
        s: Offset of the cosine schedule.
        max_beta: Upper bound of one beta.
        max_length: Longest lattice vector of an estimate, in the units of the process;
            ``None`` leaves the estimate as it is.
        min_width: Smallest distance of opposite faces of an estimated cell, in the units of the
            process; 0 leaves the estimate as it is. It holds once the noise is at most half as
            large: before, a flat mean over both mirror images is the right estimate.
    """

    def __init__(
        self,
        num_steps: int = 1000,
        s: float = 0.008,
        max_beta: float = 0.999,
        max_length: float | None = None,
        min_width: float = 0.0,
    ) -> None:
        super().__init__((3, 3), num_steps, s, max_beta)
        self.max_length, self.min_width = max_length, min_width

    def estimate(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """Return the estimate of L_0 that the predicted noise implies, within both bounds."""
        x0 = super().estimate(x_t, prediction, t)
        if self.max_length is not None:
            length = x0.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            x0 = x0 * (self.max_length / length).clamp(max=1.0)
        if self.min_width > 0:
            a = self.signal.per_row(t, x0)
            settled = ((1 - a) / a).sqrt() <= self.min_width / 2
            x0 = torch.where(settled, widened(x0, self.min_width), x0)
        return x0


def widened(lattice: Tensor, width: float) -> Tensor:
    """Move faces of flat cells apart until opposite ones are at least ``width`` apart.

    Each vector in turn gets what is missing along the normal of the other two, on the side where
    it is; that never brings the other faces closer. Cells that are wide enough stay as they are,
    rotations and reflections commute with it.

    Args:
        lattice: Row lattices, (B, 3, 3).
        width: Smallest distance, in the units of the lattice.
    """
    rows = list(lattice.unbind(1))
    for i in range(3):
        normal = torch.linalg.cross(rows[i - 2], rows[i - 1])
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        height = (rows[i] * normal).sum(-1, keepdim=True)
        missing = (width - height.abs()).clamp(min=0)
        rows[i] = rows[i] + torch.where(height < 0, -missing, missing) * normal
    return torch.stack(rows, dim=1)
