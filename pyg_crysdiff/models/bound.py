"""The denoiser with sizes, condition and guidance of one batch bound to it, as a sampler calls it.

What depends on time and condition alone is computed once per time. On a GPU the whole call may be
recorded once per batch and replayed (:mod:`pyg_crysdiff.models.recording`): a batch keeps its
shapes for all steps, so that no padding is needed for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyg_crysdiff.diffusion.state import FIELDS, CrystalState, Prediction
from pyg_crysdiff.models.recording import Recorded, Tensors, recorded_on
from pyg_crysdiff.nn.denoiser import CachingDenoiser, Contexts, Denoiser
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.platform import sent

Predict = Callable[..., Prediction]
Condition = Mapping[str, Tensor]


class BoundDenoiser:
    """Predicts what a sampler asks for, at states of one batch.

    With scale w the prediction is w * conditional + (1 - w) * unconditional, field by field: w = 1
    is the plain conditional model and needs one network call, w = 0 the unconditional one.

    Args:
        denoiser: The network.
        predict: Calls it, as :meth:`pyg_crysdiff.models.CrystalDiffusion.predict` does.
        num_atoms: Atoms per crystal, (B,).
        condition: Property name to values (B,); None for unconditional sampling.
        guidance: Scale w.
        device: Device of the network. Where sizes and condition lie on the processor, nobody
            waits for it.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        predict: Predict,
        num_atoms: Tensor,
        condition: Condition | None,
        guidance: float,
        device: torch.device,
    ) -> None:
        self._predict, self._guidance = predict, guidance
        self._layout = PairLayout.build(num_atoms, device)
        self._condition: dict[str, Tensor] | None = None
        if condition:
            self._condition = {name: sent(value, device) for name, value in condition.items()}
        self._contexts: dict[bool, _Contexts] = {}
        if isinstance(denoiser, CachingDenoiser):
            make, alike = denoiser.contexts(), _alike(condition)
            self._contexts = {
                True: _Contexts(make, self._condition, alike),
                False: _Contexts(make, None, True),
            }
        self._recorded: Recorded | None = None
        self._like: CrystalState | None = None
        if recorded_on(device):
            self._recorded = Recorded(self._outputs)

    def __call__(self, state: CrystalState, t: Tensor) -> Prediction:
        """Return the prediction at a state of the batch; ``t`` are the times of its crystals."""
        if self._recorded is None or self._recorded.given_up or state.time is None:
            return self._guided(state, t, keep=True)
        self._like = state
        return Prediction(*self._recorded(state.lattice, state.coordinates, state.species, t))

    def _outputs(self, lattice: Tensor, coordinates: Tensor, species: Tensor, t: Tensor) -> Tensors:
        """Do the same as a function of all that changes from call to call."""
        assert self._like is not None
        state = replace(self._like, lattice=lattice, coordinates=coordinates, species=species)
        kind = lattice.device.type
        # Converted weights that autocast keeps would not live as long as what was recorded.
        with torch.autocast(
            kind,
            torch.get_autocast_dtype(kind),
            enabled=torch.is_autocast_enabled(kind),
            cache_enabled=False,
        ):
            prediction = self._guided(state, t, keep=False)
        return prediction.lattice, prediction.coordinates, prediction.species

    def _guided(self, state: CrystalState, t: Tensor, keep: bool) -> Prediction:
        if self._condition is None or self._guidance == 0.0:
            return self._call(state, t, False, keep)
        wanted = self._call(state, t, True, keep)
        if self._guidance == 1.0:
            return wanted
        free = self._call(state, t, False, keep)
        return Prediction(
            *(torch.lerp(getattr(free, k), getattr(wanted, k), self._guidance) for k in FIELDS)
        )

    def _call(self, state: CrystalState, t: Tensor, given: bool, keep: bool) -> Prediction:
        options: dict[str, Any] = {}
        if self._contexts:
            options["context"] = self._contexts[given](t, state.time, keep)
        return self._predict(state, t, self._condition if given else None, self._layout, **options)


def _alike(condition: Condition | None) -> bool:
    """Whether all crystals of a batch have the same condition."""
    return all(bool((v == v[:1]).all()) for v in (condition or {}).values())


class _Contexts:
    """The contexts of one condition, each made once for all calls at one time.

    Args:
        make: Of :meth:`CachingDenoiser.contexts`.
        condition: Property name to values (B,); None for none.
        alike: Whether all crystals have the same, so that one row stands for all.
    """

    def __init__(self, make: Contexts, condition: Condition | None, alike: bool) -> None:
        self._make, self._condition, self._alike = make, condition, alike
        self._first = None if condition is None else {k: v[:1] for k, v in condition.items()}
        self._kept: tuple[int, Any] | None = None

    def __call__(self, t: Tensor, time: int | None, keep: bool) -> Any:
        """Return the context of times (B,).

        Args:
            t: Times.
            time: Theirs where all are the same.
            keep: Whether that of the last time is kept and, at the same time, returned again.
        """
        if time is None:
            return self._make(t, self._condition)
        if keep and self._kept is not None and self._kept[0] == time:
            return self._kept[1]
        made = self._make(t[:1], self._first) if self._alike else self._make(t, self._condition)
        self._kept = (time, made) if keep else None
        return made
