"""Noise schedules and sampling times. All tables have T + 1 entries; entry 0 is clean data."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from pyg_crysdiff.diffusion.kinds import Spacing

_EDM_RHO, _EDM_RANGE = 7.0, 100.0
# Share of the steps made, and the time t / T reached by then.
_FOCUS_SHARES, _FOCUS_TIMES = (0.0, 0.4, 0.9, 1.0), (1.0, 0.6, 0.2, 0.0)


def cosine_alpha_bar(num_steps: int, s: float = 0.008, max_beta: float = 0.999) -> Tensor:
    r"""Return the cumulative signal level of the cosine schedule (Nichol & Dhariwal 2021, eq. 17).

    .. math:: \bar\alpha_t = \prod_{u \le t} (1 - \beta_u), \qquad
        \beta_t = \min\bigl(1 - g(t)/g(t-1),\ \beta_{max}\bigr), \qquad
        g(t) = \cos^2\Bigl(\tfrac{t/T + s}{1 + s} \tfrac{\pi}{2}\Bigr)

    Args:
        num_steps: T.
        s: Offset that keeps the first steps from being too small.
        max_beta: Upper bound of a single beta.

    Returns:
        Float64 tensor of shape (T + 1,), ``[0] == 1``.
    """
    t = torch.arange(num_steps + 1, dtype=torch.float64)
    g = torch.cos((t / num_steps + s) / (1 + s) * math.pi / 2) ** 2
    beta = (1 - g[1:] / g[:-1]).clamp(max=max_beta)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - beta, 0)])


def geometric_sigma(num_steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    r"""Return the wrapped-normal widths (arXiv 2406.09263, below eq. 4).

    .. math:: \sigma_0 = 0, \qquad \sigma_t = \sigma_1 (\sigma_T / \sigma_1)^{(t-1)/(T-1)}

    Args:
        num_steps: T.
        sigma_min: sigma_1, in fractional coordinates.
        sigma_max: sigma_T.

    Returns:
        Float64 tensor of shape (T + 1,).

    Raises:
        ValueError: If the widths are not ``0 < sigma_min <= sigma_max``.
    """
    if not 0 < sigma_min <= sigma_max:
        raise ValueError(f"need 0 < sigma_min <= sigma_max, got {sigma_min} and {sigma_max}")
    exponent = torch.arange(num_steps, dtype=torch.float64) / max(num_steps - 1, 1)
    sigma = sigma_min * (sigma_max / sigma_min) ** exponent
    return torch.cat([torch.zeros(1, dtype=torch.float64), sigma])


def sampling_times(
    num_steps: int, steps: int | None = None, spacing: Spacing = "uniform"
) -> list[int]:
    r"""Return the times visited in sampling, from T down to 0.

    ``uniform`` strides evenly. ``edm`` is the spacing of Karras et al. (arXiv 2206.00364, eq. 5)
    with :math:`\rho = 7`, even in :math:`\sigma^{1/\rho}`, for widths that span a factor of 100 as
    those of the coordinates do. ``focused`` spends 40 % of the steps down to 0.6 T, 50 % down to
    0.2 T, where the coordinates' widths go from a twelfth of an axis to an eightieth and atoms
    find their places, and 10 % on the rest; the shares were found by trial on Carbon-24.
    Rounding to whole times may leave a few steps less.

    Args:
        num_steps: T.
        steps: Number of reverse steps, 1 to T; ``None`` for all T.
        spacing: Kind.

    Raises:
        ValueError: If ``steps`` is out of range or the spacing unknown.
    """
    steps = num_steps if steps is None else steps
    if not 1 <= steps <= num_steps:
        raise ValueError(f"steps must lie in 1..{num_steps}, got {steps}")
    if spacing == "uniform":
        return [round(num_steps * (steps - k) / steps) for k in range(steps + 1)]
    if spacing == "focused":
        places = np.interp(np.arange(steps + 1) / steps, _FOCUS_SHARES, _FOCUS_TIMES)
        return sorted({0, *(round(num_steps * t) for t in places.tolist())}, reverse=True)
    if spacing != "edm":
        raise ValueError(f"spacing must be one of {get_args(Spacing)}, got {spacing!r}")
    top = _EDM_RANGE ** (1 / _EDM_RHO)
    times = {0, num_steps}
    for k in range(1, steps):
        sigma = (top + k / steps * (1 - top)) ** _EDM_RHO
        times.add(round(num_steps * math.log(sigma) / math.log(_EDM_RANGE)))
    return sorted(times, reverse=True)
