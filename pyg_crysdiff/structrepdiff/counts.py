"""What whole numbers of atoms say of a noised composition, before any network has seen it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEAST = -25.0  # logarithm of the least likelihood of a count beside that of the likeliest


class CountPosterior(nn.Module):
    r"""The expected counts of atoms per element behind Gaussian noise.

    For a noised coordinate :math:`x_k = \alpha (o_k + u_k c_k) + \sigma \epsilon` of every element
    k, with independent counts :math:`c_k` that are as frequent as in the training set and whose sum
    N is as frequent as there,

    .. math:: E[o_k + u_k c_k | x], \qquad
        p(c) \propto r\Bigl(\sum_k c_k\Bigr) \prod_k p_k(c_k)

    with r(N) such that N is distributed as in the training set. The sum over all compositions is
    exact: a forward and a backward pass over the elements, with the number of atoms so far as
    state (sum-product, Kschischang et al., IEEE Trans. Inf. Theory 47, 498, 2001).

    A network of the whole vector is slow to learn that counts are whole and add up: each element
    decides alone, at the same low noise. What the elements have to do with each other beyond their
    sum is left to it.

    Args:
        num_elements: K.
        max_count: Largest number of atoms of one element.
        max_atoms: Largest number of atoms of a crystal.
    """

    levels: Tensor
    prior: Tensor
    sums: Tensor

    def __init__(self, num_elements: int, max_count: int, max_atoms: int) -> None:
        super().__init__()
        self.register_buffer("levels", torch.zeros(num_elements, max_count + 1))
        self.register_buffer("prior", torch.zeros(num_elements, max_count + 1))
        self.register_buffer("sums", torch.zeros(max_atoms + 1))
        self._tops: list[int] | None = None  # looked up once: a GPU would be waited for
        self.register_load_state_dict_post_hook(_forget)

    @torch.no_grad()
    def fit(self, counts: Tensor, offset: Tensor, unit: Tensor) -> None:
        """Learn the frequencies of counts and of their sums.

        Args:
            counts: Counts of the training crystals, whole numbers (M, K).
            offset: Coordinate of no atom of an element, (K,).
            unit: What one atom more adds to it, (K,).

        Raises:
            ValueError: If a count or a sum is beyond what was announced.
        """
        most, largest = self.prior.shape[1] - 1, len(self.sums) - 1
        if int(counts.max()) > most or int(counts.sum(1).max()) > largest:
            raise ValueError(
                f"counts up to {int(counts.max())} of an element and {int(counts.sum(1).max())} of "
                f"a crystal are more than {most} and {largest}"
            )
        self._tops = counts.amax(0).tolist()
        self.levels.copy_(
            offset.unsqueeze(1) + unit.unsqueeze(1) * offset.new_tensor(range(most + 1))
        )
        prior = F.one_hot(counts, most + 1).double().mean(0)
        wanted = torch.bincount(counts.sum(1), minlength=largest + 1) / len(counts)
        state = _none_yet(largest + 1, 1, prior)
        for row, top in zip(prior, self._tops, strict=True):
            state = _after(state, row[: top + 1].unsqueeze(1))
        sums = torch.where(wanted > 0, wanted / state.squeeze(1).clamp(min=1e-300), 0.0)
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
    def forward(self, x: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        r"""Return the expected coordinates, (B, K).

        Args:
            x: Noised coordinates, (B, K).
            signal: :math:`\alpha`, (B, 1).
            noise: :math:`\sigma`, (B, 1).
        """
        # Elements and counts first, crystals last: what is added up is contiguous.
        gap = (x.t().unsqueeze(1) - signal.view(-1) * self.levels.unsqueeze(2)) / noise.view(-1)
        likelihood = -0.5 * gap.square()
        likelihood = (likelihood - likelihood.amax(1, keepdim=True)).clamp(min=_LEAST)
        every = self.prior.unsqueeze(2) * likelihood.exp()
        weights = [row[: top + 1] for row, top in zip(every, self._largest(), strict=True)]
        before = [_none_yet(len(self.sums), len(x), x)]
        for weight in weights[:-1]:
            before.append(_after(before[-1], weight))
        later = self.sums.unsqueeze(1).expand(-1, len(x))
        out = []
        for earlier, weight, levels in zip(
            reversed(before), reversed(weights), reversed(self.levels), strict=True
        ):
            chance, later = _both_sides(earlier, later, weight)
            out.append((chance * levels[: len(chance)].unsqueeze(1)).sum(0))
        return torch.stack(out[::-1], 1)


def _none_yet(states: int, rows: int, like: Tensor) -> Tensor:
    out = like.new_zeros(states, rows)
    out[0] = 1.0
    return out


def _after(state: Tensor, weights: Tensor) -> Tensor:
    """Distribution of the sum after one element more, (n, B), from weights (c, B)."""
    out = state * weights[0]
    for c in range(1, len(weights)):
        out[c:].addcmul_(state[:-c], weights[c])
    return _normal(out)


def _both_sides(earlier: Tensor, later: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of an element's counts, (c, B), and the weight of it and those after it.

    Args:
        earlier: Distribution of the sum before the element, (n, B).
        later: Weight of the elements after it by the sum that they start from, (n, B).
        weights: Weights of its counts, (c, B).
    """
    chance = [(earlier * later).sum(0)]
    out = later * weights[0]
    for c in range(1, len(weights)):
        chance.append((earlier[:-c] * later[c:]).sum(0))
        out[:-c].addcmul_(later[c:], weights[c])
    return _normal(torch.stack(chance) * weights), _normal(out)


def _normal(weights: Tensor) -> Tensor:
    return weights / weights.sum(0, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def _forget(posterior: CountPosterior, _: Any) -> None:
    """Other weights have come."""
    posterior._tops = None
