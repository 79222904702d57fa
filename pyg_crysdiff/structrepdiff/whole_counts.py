"""Compositions of whole counts, which a network and an exact sum estimate together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyg_crysdiff.structrepdiff.counts import CountPosterior, Potentials
from pyg_crysdiff.structrepdiff.prediction import Parameterisation


class WholeCounts:
    """The composition among the coordinates, where it is whole counts of atoms.

    Args:
        posterior: The sum over all compositions, K elements.
        parts: Coordinates of descriptor, composition, and cell with N; D in all.
        parameterisation: What the network predicts.
        potentials: The network tells a potential of every count of every element, by K outputs in
            place of the composition's prediction (no atom of it) and others behind the prediction
            (one atom and more). Otherwise its prediction is added to what the counts say alone.
        of_sums: It tells one of every number of atoms and of elements too, behind those.
    """

    def __init__(
        self,
        posterior: CountPosterior,
        parts: Sequence[int],
        parameterisation: Parameterisation,
        potentials: bool,
        of_sums: bool = False,
    ) -> None:
        self.posterior, self.parts, self.potentials = posterior, list(parts), potentials
        self.of_sums = of_sums
        self.parameterisation = parameterisation
        self.place = slice(parts[0], parts[0] + parts[1])

    def hints(self, x: Tensor, t: Tensor) -> Tensor:
        """Return what counts say of the composition without the network, (B, K).

        With potentials each element speaks for itself: the sum comes after the network.
        """
        say = self.posterior.alone if self.potentials else self.posterior
        return say(x[:, self.place], *self.parameterisation.scales(x, t))

    def prediction(
        self, out: Tensor, x: Tensor, t: Tensor, hints: Tensor, uniform: Tensor | None = None
    ) -> Tensor:
        """Return the prediction of all coordinates, (B, D).

        Args:
            out: What the network tells, (B, D) or more.
            x: Noised coordinates, (B, D).
            t: Times, (B,).
            hints: From :meth:`hints`.
            uniform: Numbers from [0, 1), (B, K + 1). With them and potentials the composition is
                not the expected one, but drawn. A step of the posterior q(x_s | x_t, x_0) from
                such an x_0 is a sample of p(x_s | x_t), however far s is from t; from the expected
                x_0 it is too narrow.
        """
        noised, (signal, scale) = x[:, self.place], self.parameterisation.scales(x, t)
        told = self._potentials(out) if self.potentials else None
        if told is None:
            clean = hints
        elif uniform is None:
            clean = self.posterior(noised, signal, scale, told)
        else:
            clean = self.posterior.draw(noised, signal, scale, told, uniform)
        target = self.parameterisation.target(clean, (noised - signal * clean) / scale, t)
        return self._with(out, target + out[:, self.place] if told is None else target)

    def errors(
        self, out: Tensor, clean: Tensor, noise: Tensor, x: Tensor, t: Tensor, hints: Tensor
    ) -> Tensor:
        """Return the squared errors of all coordinates, (B, D).

        With potentials, all of the composition's are the negative logarithm of its likelihood
        instead: their mean is in nats per crystal.

        Args:
            out: What the network tells, (B, D) or more.
            clean: Coordinates, (B, D).
            noise: Noise on them, (B, D).
            x: Noised coordinates, (B, D).
            t: Times, (B,).
            hints: From :meth:`hints`.
        """
        target = self.parameterisation.target(clean, noise, t)
        if not self.potentials:
            return (self.prediction(out, x, t, hints) - target).square()
        loss = self.posterior.loss(
            clean[:, self.place], x[:, self.place], *self.parameterisation.scales(x, t),
            self._potentials(out),
        )  # fmt: skip
        squares = (out[:, : target.shape[1]] - target).square()
        return self._with(squares, loss.unsqueeze(1).expand(-1, self.parts[1]))

    def _potentials(self, out: Tensor) -> Potentials:
        none, more = out[:, self.place], out[:, sum(self.parts) :]
        counts, sums = more.tensor_split([self.posterior.prior[:, 1:].numel()], 1)
        counts = torch.cat([none.unsqueeze(2), counts.view(*none.shape, -1)], 2)
        sizes = self.posterior.sums.shape
        return Potentials(counts, sums.view(-1, *sizes) if self.of_sums else None)

    def _with(self, out: Tensor, composition: Tensor) -> Tensor:
        """Coordinates (B, D) with others for the composition, (B, K)."""
        before, _, after = out[:, : sum(self.parts)].split(self.parts, 1)
        return torch.cat([before, composition, after], 1)
