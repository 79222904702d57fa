"""What whole numbers of atoms say of a noised composition, before any network has seen it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyg_crysdiff.structrepdiff.sum_product import after, draw, none_yet, sum_product

_LEAST = -25.0  # logarithm of the least likelihood of a count beside that of the likeliest


@dataclass(frozen=True)
class Potentials:
    """Potentials of a conditional random field over compositions (Lafferty et al., ICML 2001).

    Attributes:
        counts: Of every count of every element, (B, K, counts).
        sums: Of every number of atoms and of elements, both from 0, (B, N, E); None for 0.
    """

    counts: Tensor
    sums: Tensor | None = None


class CountPosterior(nn.Module):
    r"""The expected counts of atoms per element behind Gaussian noise.

    For a noised coordinate :math:`x_k = \alpha (o_k + u_k c_k) + \sigma \epsilon` of every element
    k, with independent counts :math:`c_k` that are as frequent as in the training set, and whose
    sum N is as frequent as there together with the number E of elements that occur,

    .. math:: E[o_k + u_k c_k | x], \qquad
        p(c) \propto r\Bigl(\sum_k c_k, \sum_k [c_k > 0]\Bigr) \prod_k p_k(c_k)

    with r(N, E) such that both are distributed as in the training set. The sum over all
    compositions is exact (:func:`pyg_crysdiff.structrepdiff.sum_product.sum_product`).

    A network of the whole vector is slow to learn that counts are whole and add up, and how many
    elements go together: each element decides alone, at the same low noise. What else the elements
    have to do with each other is left to it. It may say so by potentials that are added to the
    logarithms: :math:`\log p_k(c) + v_k(c)` for every element and count,
    :math:`\log r(N, E) + w(N, E)` for the numbers of atoms and of elements. That is a conditional
    random field (Lafferty et al., ICML 2001, eq. 1), with x as what is observed. Weights of before
    E was known are read as r(N).

    Args:
        num_elements: K.
        max_count: Largest number of atoms of one element.
        max_atoms: Largest number of atoms of a crystal.
        max_elements: Largest number of elements of a crystal.
    """

    levels: Tensor
    prior: Tensor
    sums: Tensor

    def __init__(
        self, num_elements: int, max_count: int, max_atoms: int, max_elements: int
    ) -> None:
        super().__init__()
        self.register_buffer("levels", torch.zeros(num_elements, max_count + 1))
        self.register_buffer("prior", torch.zeros(num_elements, max_count + 1))
        self.register_buffer("sums", torch.zeros(max_atoms + 1, max_elements + 1))
        self._tops: list[int] | None = None  # looked up once: a GPU would be waited for
        self.register_load_state_dict_pre_hook(_widen)
        self.register_load_state_dict_post_hook(_forget)

    @torch.no_grad()
    def fit(self, counts: Tensor, offset: Tensor, unit: Tensor) -> None:
        """Learn the frequencies of counts, of their sums and of the numbers of elements.

        Args:
            counts: Counts of the training crystals, whole numbers (M, K).
            offset: Coordinate of no atom of an element, (K,).
            unit: What one atom more adds to it, (K,).

        Raises:
            ValueError: If a count or a sum is beyond what was announced.
        """
        most, shape = self.prior.shape[1] - 1, self.sums.shape
        totals, kinds = counts.sum(1), (counts > 0).sum(1)
        found = int(counts.max()), int(totals.max()), int(kinds.max())
        if found[0] > most or found[1] >= shape[0] or found[2] >= shape[1]:
            raise ValueError(
                f"counts up to {found[0]} of an element, {found[1]} atoms and {found[2]} elements "
                f"of a crystal are more than {most}, {shape[0] - 1} and {shape[1] - 1}"
            )
        self._tops = counts.amax(0).tolist()
        self.levels.copy_(
            offset.unsqueeze(1) + unit.unsqueeze(1) * offset.new_tensor(range(most + 1))
        )
        prior = F.one_hot(counts, most + 1).double().mean(0)
        wanted = torch.bincount(totals * shape[1] + kinds, minlength=shape.numel()).view(shape)
        state = none_yet(shape, 1, prior)
        for row, top in zip(prior, self._tops, strict=True):
            state, _ = after(state, row[: top + 1].unsqueeze(1))
        alone = state.squeeze(2).clamp(min=1e-300)
        sums = torch.where(wanted > 0, wanted / len(counts) / alone, 0.0)
        self.prior.copy_(prior)
        self.sums.copy_(sums / sums.amax())

    def _largest(self) -> list[int]:
        """Largest count of each element in the training set."""
        if self._tops is None:
            held = self.prior.cpu() > 0
            self._tops = (held * torch.arange(held.shape[1])).amax(1).tolist()
        return self._tops

    def spread(self) -> Tensor:
        """Return the root mean square of the coordinates' standard deviations, a scalar."""
        mean = (self.prior * self.levels).sum(1, keepdim=True)
        variance = (self.prior * (self.levels - mean).square()).sum(1).mean()
        return variance.sqrt().clamp(min=1e-6)

    @torch.no_grad()
    def forward(
        self, x: Tensor, signal: Tensor, noise: Tensor, potentials: Potentials | None = None
    ) -> Tensor:
        r"""Return the expected coordinates, (B, K).

        Args:
            x: Noised coordinates, (B, K).
            signal: :math:`\alpha`, (B, 1).
            noise: :math:`\sigma`, (B, 1).
            potentials: v and w; None for 0.
        """
        weights = self._weights(x, signal, noise, potentials)
        sums = self._sums(len(x), potentials)
        return self._expected(sum_product(weights, sums, self._largest()).counts)

    @torch.no_grad()
    def draw(
        self, x: Tensor, signal: Tensor, noise: Tensor, potentials: Potentials, uniform: Tensor
    ) -> Tensor:
        """Return the coordinates of one composition each, as probable as p(c | x), (B, K).

        Args:
            x: Noised coordinates, (B, K).
            signal: See :meth:`forward`.
            noise: See :meth:`forward`.
            potentials: v and w.
            uniform: Independent numbers from [0, 1), (B, K + 1).
        """
        weights = self._weights(x, signal, noise, potentials)
        counts = draw(weights, self._sums(len(x), potentials), self._largest(), uniform)
        return self.levels.gather(1, counts.t()).t()

    @torch.no_grad()
    def alone(self, x: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        """Return the expected coordinates where each element decides for itself, (B, K)."""
        likelihood = self._log_likelihood(x, signal, noise)
        return self._expected((self.prior.log().unsqueeze(2) + likelihood).softmax(1))

    def loss(
        self, clean: Tensor, x: Tensor, signal: Tensor, noise: Tensor, potentials: Potentials
    ) -> Tensor:
        r"""Return :math:`-\log p(c | x)` of the true compositions c with potentials, (B,).

        Its gradient by a potential is the marginal of what it stands for, less 1 where that is
        true. Counts and sums that the training set does not have are as improbable as
        :math:`e^{-50}`.

        Args:
            clean: Coordinates without noise, (B, K).
            x: Noised coordinates, (B, K).
            signal: See :meth:`forward`.
            noise: See :meth:`forward`.
            potentials: v and w.
        """
        counts = self._whole(clean)
        with torch.no_grad():
            weights = self._weights(x, signal, noise, potentials)
            sums = self._sums(len(x), potentials)
            found = sum_product(weights, sums, self._largest())
            most = [size - 1 for size in self.sums.shape]
            totals, kinds = counts.sum(1).clamp(max=most[0]), (counts > 0).sum(1).clamp(max=most[1])
            together = sums[totals, kinds, torch.arange(len(x), device=x.device)]
            chosen = weights.permute(2, 0, 1).gather(2, counts.unsqueeze(2))
            value = found.logarithm - _log(chosen).sum((1, 2)) - _log(together)
        slope = _surplus(potentials.counts, found.counts.permute(2, 0, 1), counts).sum(1)
        if potentials.sums is not None:
            told, chance = potentials.sums.flatten(1), found.sums.permute(2, 0, 1).flatten(1)
            slope = slope + _surplus(told, chance, totals * self.sums.shape[1] + kinds)
        return value + slope - slope.detach()

    def _sums(self, batch: int, potentials: Potentials | None) -> Tensor:
        """Weights r of numbers of atoms and elements up to a factor for each crystal, (N, E, B)."""
        sums = self.sums.unsqueeze(2).expand(-1, -1, batch)
        if potentials is None or potentials.sums is None:
            return sums
        told = potentials.sums.permute(1, 2, 0).masked_fill(sums == 0, -torch.inf)
        return sums * (told - told.amax((0, 1))).clamp(min=_LEAST).exp()

    def _weights(
        self, x: Tensor, signal: Tensor, noise: Tensor, potentials: Potentials | None
    ) -> Tensor:
        """Weights of elements and counts up to a factor for each element, (K, counts, B)."""
        likelihood = self._log_likelihood(x, signal, noise)
        if potentials is not None:
            likelihood = likelihood + potentials.counts.permute(1, 2, 0)
            # Nothing has trained the potentials of counts that never occur.
            likelihood = likelihood.masked_fill(self.prior.unsqueeze(2) == 0, -torch.inf)
        likelihood = (likelihood - likelihood.amax(1, keepdim=True)).clamp(min=_LEAST)
        return self.prior.unsqueeze(2) * likelihood.exp()

    def _log_likelihood(self, x: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        """Of every count of every element up to a constant, (K, counts, B)."""
        # Elements and counts first, crystals last: what is added up is contiguous.
        gap = (x.t().unsqueeze(1) - signal.view(-1) * self.levels.unsqueeze(2)) / noise.view(-1)
        return -0.5 * gap.square()

    def _expected(self, chance: Tensor) -> Tensor:
        """Coordinates, (B, K), from probabilities of the counts, (K, counts, B)."""
        return torch.einsum("kcb,kc->bk", chance, self.levels)

    def _whole(self, clean: Tensor) -> Tensor:
        """Counts of clean coordinates, (B, K); what does not vary has its only count."""
        unit = self.levels[:, 1] - self.levels[:, 0]
        counts = (clean - self.levels[:, 0]) / torch.where(unit > 0, unit, 1.0)
        counts = counts.round().long().clamp(0, self.levels.shape[1] - 1)
        return torch.where(unit > 0, counts, self.prior.argmax(1))


def _surplus(told: Tensor, chance: Tensor, true: Tensor) -> Tensor:
    """Expected potentials less those of the truth, (...), from (..., M), (..., M) and (...)."""
    return (chance * told).sum(-1) - told.gather(-1, true.unsqueeze(-1)).squeeze(-1)


def _log(weights: Tensor) -> Tensor:
    return weights.log().clamp(min=2 * _LEAST)


def _widen(posterior: CountPosterior, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Weights of before have sums of atoms alone: the same for every number of elements."""
    sums = state.get(f"{prefix}sums")
    if sums is not None and sums.dim() == 1:
        state[f"{prefix}sums"] = sums.unsqueeze(1).expand(-1, posterior.sums.shape[1]).clone()


def _forget(posterior: CountPosterior, _: Any) -> None:
    """Other weights have come."""
    posterior._tops = None
