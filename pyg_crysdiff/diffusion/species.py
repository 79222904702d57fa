"""D3PM on atomic species with uniform transitions (arXiv 2406.09263, eqs 6 to 8)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from pyg_crysdiff.diffusion.field import FieldDiffusion, Schedule
from pyg_crysdiff.diffusion.schedules import cosine_alpha_bar

Reverse = Literal["mixture", "paper"]


class UniformD3PM(FieldDiffusion):
    r"""Discrete diffusion with :math:`Q_t = (1 - \beta_t) I + \beta_t / K\, 1 1^T`.

    Products of such matrices stay in the family, :math:`\bar Q_t = \bar\alpha_t I +
    (1 - \bar\alpha_t) / K\, 1 1^T`, so that no K x K matrix is ever formed. The network
    predicts logits of a_0, whose softmax is :math:`p(a_0 | a_t)`. The loss is the KL divergence of
    eq. 8 (at t = 1 the negative log-likelihood of a_0) plus ``auxiliary_weight`` times the
    cross-entropy of the a_0 prediction (the auxiliary loss of D3PM, arXiv 2107.03006, eq. 5).

    Species are class indices (N,) int64, not atomic numbers.

    Args:
        num_classes: K; 1 is allowed (nothing to diffuse, zero loss).
        num_steps: T.
        s: Offset of the cosine schedule.
        max_beta: Upper bound of one beta.
        auxiliary_weight: Weight of the cross-entropy term.
        reverse: Formula of the reverse step, see :meth:`posterior`; the loss uses it too.

    Raises:
        ValueError: If there is no class, or no such formula.
    """

    prior_noise = "uniform"
    noise_kind = "uniform"

    def __init__(
        self,
        num_classes: int,
        num_steps: int = 1000,
        s: float = 0.008,
        max_beta: float = 0.999,
        auxiliary_weight: float = 0.0,
        reverse: Reverse = "mixture",
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        if reverse not in get_args(Reverse):
            raise ValueError(
                f"unknown reverse step {reverse!r} of the species; choose from {get_args(Reverse)}"
            )
        self.num_classes = num_classes
        self.num_steps = num_steps
        self.auxiliary_weight = auxiliary_weight
        self.reverse: Reverse = reverse
        self.signal = Schedule(cosine_alpha_bar(num_steps, s, max_beta))

    @property
    def alpha_bar(self) -> Tensor:
        """Cumulative signal level, shape (T + 1,), float64 on the CPU."""
        return self.signal.values

    def prior(self, noise: Tensor) -> Tensor:
        """Uniform classes from uniform noise (N, 1)."""
        index = (noise.view(-1) * self.num_classes).long()
        return index.clamp(max=self.num_classes - 1)

    def corrupt(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Sample q(a_t | a_0), eq. 7."""
        u = noise.view(-1)
        keep = self.signal.at(t, u.dtype)
        # The remainder of u, rescaled, is again uniform: one number decides both draws.
        redrawn = ((u - keep) / (1 - keep).clamp(min=1e-12) * self.num_classes).long()
        return torch.where(u < keep, x0, redrawn.clamp(0, self.num_classes - 1))

    def _one_hot(self, classes: Tensor, dtype: torch.dtype) -> Tensor:
        """Return one-hot rows, (N, K); ``F.one_hot`` would look at the classes first."""
        return (classes.unsqueeze(-1) == torch.arange(self.num_classes, device=classes.device)).to(
            dtype
        )

    def _mix(self, probabilities: Tensor, signal: Tensor) -> Tensor:
        """Multiply row vectors by ``signal I + (1 - signal) / K 1 1^T``."""
        mean = probabilities.mean(-1, keepdim=True)
        return mean + signal.unsqueeze(-1) * (probabilities - mean)

    def posterior(self, x_t: Tensor, p0: Tensor, t: Tensor, s: Tensor) -> Tensor:
        r"""Return the distribution of :math:`a_s` given :math:`a_t`, (N, K).

        .. math:: p(a_s | a_t) \propto a_t Q_{t|s}^T \odot w \bar Q_s

        With ``mixture`` it is :math:`\sum_{a_0} q(a_s | a_t, a_0)\, p_0(a_0)`, which takes
        :math:`w(a_0) = p_0(a_0) / q(a_t | a_0)`. With ``paper`` it is eq. 8 of arXiv 2406.09263
        (eq. 4 of D3PM) as written, which has :math:`w = p_0`. The two are the same for a point
        mass; but a network's p_0 has seen :math:`a_t` already, which then counts twice, and an atom
        hardly leaves a class of any probability.

        Args:
            x_t: Class indices at t, (N,).
            p0: Distribution (or one-hot) over a_0 given a_t, (N, K).
            t: Times, (N,).
            s: Earlier times, (N,).
        """
        a_t, a_s = self.signal.at(t, p0.dtype), self.signal.at(s, p0.dtype)
        one_hot = self._one_hot(x_t, p0.dtype)
        weights = p0 if self.reverse == "paper" else p0 / self._mix(one_hot, a_t)
        joint = self._mix(one_hot, a_t / a_s) * self._mix(weights, a_s)
        return joint / joint.sum(-1, keepdim=True)

    def loss(self, prediction: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """KL(q(a_{t-1} | a_t, a_0) || p_theta), eq. 8, plus the auxiliary term; shape (N,)."""
        del noise
        clean = self._one_hot(x0, prediction.dtype)
        true = self.posterior(x_t, clean, t, t - 1)
        log_model = self.posterior(x_t, prediction.softmax(-1), t, t - 1).clamp(min=1e-30).log()
        loss = (torch.special.xlogy(true, true) - true * log_model).sum(-1)
        if self.auxiliary_weight:
            entropy = F.cross_entropy(prediction, x0, reduction="none")
            loss = loss + self.auxiliary_weight * entropy
        return loss

    def step(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Sample p_theta(a_s | a_t) by inverting its cumulative distribution."""
        p = self.posterior(x_t, prediction.softmax(-1), t, s)
        # A class without probability must not come out, not even for a noise of exactly 0.
        index = (p.cumsum(-1) <= noise.view(-1, 1)).sum(-1)
        last = self.num_classes - 1 - (p > 0).flip(-1).int().argmax(-1)
        return torch.minimum(index, last)


class GivenSpecies(FieldDiffusion):
    """No diffusion of the species: the network always sees the true ones.

    For crystal structure prediction, where the composition is known (CSP mode of DiffCSP, arXiv
    2309.04475): only lattice and coordinates are generated.

    Args:
        num_classes: K.
        num_steps: T.
    """

    prior_noise = "uniform"
    noise_kind = "uniform"
    given = True

    def __init__(self, num_classes: int, num_steps: int = 1000) -> None:
        super().__init__()
        self.num_classes, self.num_steps = num_classes, num_steps

    def prior(self, noise: Tensor) -> Tensor:
        """The first class for every atom, until the given species take its place."""
        return torch.zeros_like(noise.view(-1), dtype=torch.long)

    def corrupt(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return the species as they are."""
        del t, noise
        return x0

    def loss(self, prediction: Tensor, x0: Tensor, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Nothing is predicted: zero, shape (N,)."""
        del x0, x_t, t, noise
        return prediction.sum(-1) * 0.0

    def step(self, x_t: Tensor, prediction: Tensor, t: Tensor, s: Tensor, noise: Tensor) -> Tensor:
        """Return the species as they are."""
        del prediction, t, s, noise
        return x_t
