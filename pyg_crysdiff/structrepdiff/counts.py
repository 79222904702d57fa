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
    k, with independent counts :math:`c_k` that are as frequent as in the training set, and whose
    sum N is as frequent as there together with the number E of elements that occur,

    .. math:: E[o_k + u_k c_k | x], \qquad
        p(c) \propto r\Bigl(\sum_k c_k, \sum_k [c_k > 0]\Bigr) \prod_k p_k(c_k)

    with r(N, E) such that both are distributed as in the training set. The sum over all
    compositions is exact: a forward and a backward pass over the elements, with the numbers of
    atoms and of elements so far as state (sum-product, Kschischang et al., IEEE Trans. Inf. Theory
    47, 498, 2001).

    A network of the whole vector is slow to learn that counts are whole and add up, and how many
    elements go together: each element decides alone, at the same low noise. What else the elements
    have to do with each other is left to it. Weights of before E was known are read as r(N).

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
        state = _none_yet(shape, 1, prior)
        for row, top in zip(prior, self._tops, strict=True):
            state = _after(state, row[: top + 1].unsqueeze(1))
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
        before = [_none_yet(self.sums.shape, len(x), x)]
        for weight in weights[:-1]:
            before.append(_after(before[-1], weight))
        later = self.sums.unsqueeze(2).expand(-1, -1, len(x))
        out = []
        for earlier, weight, levels in zip(
            reversed(before), reversed(weights), reversed(self.levels), strict=True
        ):
            chance, later = _both_sides(earlier, later, weight)
            out.append((chance * levels[: len(chance)].unsqueeze(1)).sum(0))
        return torch.stack(out[::-1], 1)


def _none_yet(states: torch.Size, rows: int, like: Tensor) -> Tensor:
    out = like.new_zeros(*states, rows)
    out[0, 0] = 1.0
    return out


def _after(state: Tensor, weights: Tensor) -> Tensor:
    """Distribution of sum and elements after one element more, (n, e, B), from weights (c, B)."""
    out = state * weights[0]
    for c in range(1, len(weights)):
        out[c:, 1:].addcmul_(state[:-c, :-1], weights[c])
    return _normal(out, (0, 1))


def _both_sides(earlier: Tensor, later: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of an element's counts, (c, B), and the weight of it and those after it.

    Args:
        earlier: Distribution of sum and elements before the element, (n, e, B).
        later: Weight of the elements after it by what they start from, (n, e, B).
        weights: Weights of its counts, (c, B).
    """
    chance = [(earlier * later).sum((0, 1))]
    out = later * weights[0]
    for c in range(1, len(weights)):
        chance.append((earlier[:-c, :-1] * later[c:, 1:]).sum((0, 1)))
        out[:-c, :-1].addcmul_(later[c:, 1:], weights[c])
    return _normal(torch.stack(chance) * weights, (0,)), _normal(out, (0, 1))


def _normal(weights: Tensor, over: tuple[int, ...]) -> Tensor:
    tiny = torch.finfo(weights.dtype).tiny
    return weights / weights.sum(over, keepdim=True).clamp(min=tiny)


def _widen(posterior: CountPosterior, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Weights of before have sums of atoms alone: the same for every number of elements."""
    sums = state.get(f"{prefix}sums")
    if sums is not None and sums.dim() == 1:
        state[f"{prefix}sums"] = sums.unsqueeze(1).expand(-1, posterior.sums.shape[1]).clone()


def _forget(posterior: CountPosterior, _: Any) -> None:
    """Other weights have come."""
    posterior._tops = None
