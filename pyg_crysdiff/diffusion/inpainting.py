"""Sampling with parts of the crystal given: species, coordinates, lattice.

The caller says what is known of each crystal in an :class:`Inpainting`. The reverse process of
:class:`pyg_crysdiff.diffusion.joint.JointDiffusion` then asks it to ``begin`` with the prior, to be
``applied`` to every prediction and to ``hold`` the given parts after every move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pyg_crysdiff._renamed import renamed
from pyg_crysdiff.diffusion.field import FieldDiffusion
from pyg_crysdiff.diffusion.noise import CrystalNoise
from pyg_crysdiff.diffusion.state import CrystalState, Prediction

Settle = Callable[[Tensor], Tensor]


class HasFields(Protocol):
    """A process made of one process per field, such as :class:`JointDiffusion`."""

    def field(self, name: str) -> FieldDiffusion:
        """Return the process of one field."""
        ...


@dataclass(frozen=True)
class Inpainting:
    r"""What is given of a batch of crystals before they are sampled, in units of the process.

    *Species.* Logits of classes that an atom may not have become :math:`-\infty`. An atom with one
    class left then follows exactly :math:`q(a_s | a_t, a_0)`, the forward process of its species
    seen backwards; no other class can come out at t = 0.

    *Coordinates, lattice.* Given entries are replaced, at every time, by a sample of
    :math:`q(x_t | x_0)`, so that the network sees them as noisy as the rest, and by themselves at
    t = 0 (replacement method: Song et al., arXiv 2011.13456, appendix I.2; RePaint, arXiv
    2201.09865).

    Attributes:
        noise: Noise of the given parts; other streams than the sampler's.
        allowed: Classes that each atom may have, (N, K) bool; None for all.
        coordinates: Fractional coordinates, (N, 3), NaN where free; None where all are.
        lattice: Row lattices, (B, 3, 3), NaN where free; None where all are.
        settle: Chooses the composition: takes probabilities (N, K) of the clean species, returns
            the class of each atom (N,).
        settle_at: It does so at the first time t that is not above this, at the latest before the
            step to t = 0.
    """

    noise: CrystalNoise
    allowed: Tensor | None = None
    coordinates: Tensor | None = None
    lattice: Tensor | None = None
    settle: Settle | None = None
    settle_at: int = 0

    def begin(self, process: HasFields, state: CrystalState, t: int) -> CrystalState:
        """Put the given parts into a sample of the prior at t."""
        if self.allowed is not None:
            sole = self.allowed.sum(1) == 1
            times = torch.full_like(state.batch, t)
            numbers = self.noise.step()["species"]
            given = process.field("species").corrupt(self.allowed.int().argmax(1), times, numbers)
            state = replace(state, species=torch.where(sole, given, state.species))
        return self.hold(process, state, t)

    def hold(self, process: HasFields, state: CrystalState, t: int) -> CrystalState:
        """Put the given coordinates and lattices back, as noisy as the process is at t."""
        changed: dict[str, Any] = {}
        for name in ("coordinates", "lattice"):
            given = getattr(self, name)
            if given is None:
                continue
            times = torch.full((len(given),), t, device=given.device)
            clean = given.nan_to_num()
            if t > 0:
                clean = process.field(name).corrupt(clean, times, self.noise.step()[name])
            changed[name] = torch.where(given.isnan(), getattr(state, name), clean)
        return replace(state, **changed) if changed else state

    def restrict(self, prediction: Prediction) -> Prediction:
        """Exclude the species that are not allowed."""
        if self.allowed is None:
            return prediction
        logits = prediction.species.masked_fill(~self.allowed, -torch.inf)
        return replace(prediction, species=logits)

    def applied(self, prediction: Prediction, t: int, s: int) -> tuple[Inpainting, Prediction]:
        """Restrict the prediction for the step from t to s; choose the composition if it is time.

        Returns:
            What is known from now on, and the restricted prediction.
        """
        prediction = self.restrict(prediction)
        if self.settle is None or not (t <= self.settle_at or s == 0):
            return self, prediction
        classes = self.settle(prediction.species.softmax(-1))
        one_hot = torch.nn.functional.one_hot(classes, prediction.species.size(1)).bool()
        known = replace(self, allowed=one_hot, settle=None)
        return known, known.restrict(prediction)


def __getattr__(name: str) -> Any:
    return globals()[renamed(__name__, {"Known": "Inpainting"}, name)]
