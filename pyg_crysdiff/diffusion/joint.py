"""The joint process over (lattice, fractional coordinates, species).

One network call serves all three fields. The process knows nothing of networks: it is given
a function ``denoise(state, t) -> Prediction``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pyg_crysdiff._renamed import moved
from pyg_crysdiff.diffusion.coordinates import WrappedNormalDiffusion
from pyg_crysdiff.diffusion.field import FieldDiffusion
from pyg_crysdiff.diffusion.inpainting import Inpainting
from pyg_crysdiff.diffusion.lattice import LatticeDDPM
from pyg_crysdiff.diffusion.noise import CrystalNoise
from pyg_crysdiff.diffusion.sampler import Earlier, Sampler
from pyg_crysdiff.diffusion.state import FIELDS, CrystalState, Denoise, Prediction
from pyg_crysdiff.platform import sent

_MIDDLE = (0.35, 0.85)


class JointDiffusion(nn.Module):
    """Three independent forward processes, one reverse process.

    Args:
        lattice: Process of the lattice.
        coordinates: Process of the fractional coordinates.
        species: Process of the species.
        loss_weights: Weight per field in the sum of losses; 1 where a field is missing.
        middle_times: Share of the training's times that comes from .35 T to .85 T, where atoms
            find their places; the others come from all times. 0 for uniform times.

    Raises:
        ValueError: If the processes differ in T, a weight names no field, or the share is none.
    """

    def __init__(
        self,
        lattice: LatticeDDPM,
        coordinates: WrappedNormalDiffusion,
        species: FieldDiffusion,
        loss_weights: Mapping[str, float] | None = None,
        middle_times: float = 0.0,
    ) -> None:
        super().__init__()
        self.fields = nn.ModuleDict(
            {"lattice": lattice, "coordinates": coordinates, "species": species}
        )
        steps = {name: self.field(name).num_steps for name in FIELDS}
        if len(set(steps.values())) != 1:
            raise ValueError(f"all fields need the same number of steps, got {steps}")
        self.num_steps = lattice.num_steps
        weights = dict(loss_weights or {})
        if unknown := set(weights) - set(FIELDS):
            raise ValueError(f"loss weights for unknown fields {sorted(unknown)}; fields: {FIELDS}")
        self.loss_weights = {name: float(weights.get(name, 1.0)) for name in FIELDS}
        if not 0 <= middle_times <= 1:
            raise ValueError(f"middle_times must be a share from 0 to 1, got {middle_times}")
        self.middle_times = middle_times

    def field(self, name: str) -> FieldDiffusion:
        """Return the process of one field."""
        process = self.fields[name]
        assert isinstance(process, FieldDiffusion)
        return process

    def training_noise(self, state: CrystalState, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the noise of one forward corruption, on the state's device.

        Numbers come from a CPU generator, so that a seed means the same on every device.
        """
        noise = {}
        for name in FIELDS:
            rows = len(state.lattice) if name == "lattice" else len(state.coordinates)
            draw = torch.randn if self.field(name).noise_kind == "normal" else torch.rand
            numbers = draw(rows, self.field(name).noise_dim, generator=generator)
            noise[name] = sent(numbers.to(state.lattice.dtype), state.lattice.device)
        return noise

    def training_times(self, num_crystals: int, generator: torch.Generator) -> Tensor:
        """Draw t ~ U{1..T} per crystal, stratified over the batch, in random order.

        Strata only lower the variance of the batch loss. In training mode the share
        ``middle_times`` comes from the middle instead; in evaluation mode every t has the same
        probability, so that validation losses can be compared.
        """
        offsets = torch.rand(num_crystals, generator=generator, dtype=torch.float64)
        strata = (torch.arange(num_crystals, dtype=torch.float64) + offsets) / num_crystals
        if self.training and (share := self.middle_times):
            first, last = _MIDDLE
            inside = first + strata / share * (last - first)
            strata = torch.where(strata < share, inside, (strata - share) / max(1 - share, 1e-12))
        t = (strata * self.num_steps).long().clamp(max=self.num_steps - 1) + 1
        return t[torch.randperm(num_crystals, generator=generator)]

    def corrupt(self, clean: CrystalState, t: Tensor, noise: Mapping[str, Tensor]) -> CrystalState:
        """Sample q(M_t | M_0) with one time per crystal, t of shape (B,)."""
        atom_t = t[clean.batch]
        noisy: dict[str, Any] = {}
        for name in FIELDS:
            times = t if name == "lattice" else atom_t
            noisy[name] = self.field(name).corrupt(getattr(clean, name), times, noise[name])
        return replace(clean, **noisy)

    def losses(
        self,
        prediction: Prediction,
        clean: CrystalState,
        noisy: CrystalState,
        t: Tensor,
        noise: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Return each field's mean loss over its rows and their weighted sum as ``total``."""
        atom_t = t[clean.batch]
        out = {
            name: self.field(name)
            .loss(
                getattr(prediction, name),
                getattr(clean, name),
                getattr(noisy, name),
                t if name == "lattice" else atom_t,
                noise[name],
            )
            .mean()
            for name in FIELDS
        }
        out["total"] = torch.stack([self.loss_weights[name] * out[name] for name in FIELDS]).sum()
        return out

    def prior(self, num_atoms: Tensor, noise: CrystalNoise) -> CrystalState:
        """Sample the state at t = T for crystals of the given sizes, (B,)."""
        numbers = noise.prior()
        states = {name: self.field(name).prior(numbers[name]) for name in FIELDS}
        device = states["lattice"].device
        num_atoms = sent(num_atoms, device)
        # The number of atoms is known here: otherwise it would be waited for.
        batch = torch.repeat_interleave(
            torch.arange(len(num_atoms), device=device),
            num_atoms,
            output_size=len(states["coordinates"]),
        )
        return CrystalState(**states, num_atoms=num_atoms, batch=batch, time=self.num_steps)

    def reverse(
        self,
        state: CrystalState,
        denoise: Denoise,
        noise: CrystalNoise,
        sampler: Sampler,
        inpainting: Inpainting | None = None,
    ) -> Iterator[tuple[int, CrystalState]]:
        """Run the reverse process, yielding (s, state at s) after every step.

        At each time the coordinates first make the sampler's corrector moves at fixed t, each
        with a network call of its own; then all fields step to the next time with one more call
        (DiffCSP, arXiv 2309.04475, Algorithm 2). More than one corrector move draws further noise
        from the same streams. All crystals have the same time, which ``state.time`` tells.

        Args:
            state: State at T.
            denoise: The network with condition and guidance bound to it.
            noise: Noise source of these crystals.
            sampler: Times and kind of the steps.
            inpainting: What is given of the crystals, in units of the process.
        """
        earlier: dict[str, Earlier | None] = {}
        times = sampler.times(self.num_steps)
        state = replace(state, time=times[0])
        if inpainting is not None:
            state = inpainting.begin(self, state, times[0])
        for t, s in itertools.pairwise(times):
            crystal_t = torch.full_like(state.num_atoms, t)
            atom_t = crystal_t[state.batch]
            numbers = noise.step()
            for move in range(sampler.corrector_steps):
                z = numbers["corrector"] if move == 0 else noise.step()["corrector"]
                prediction = sampler.tempered(denoise(state, crystal_t))
                moved = self.field("coordinates").correct(
                    state.coordinates, prediction.coordinates, atom_t, z, sampler.renewal
                )
                state = replace(state, coordinates=moved)
                if inpainting is not None:
                    state = inpainting.hold(self, state, t)
            prediction = sampler.tempered(denoise(state, crystal_t))
            if inpainting is not None:
                inpainting, prediction = inpainting.applied(prediction, t, s)
            stepped = {}
            for name in FIELDS:
                times_t = crystal_t if name == "lattice" else atom_t
                stepped[name], earlier[name] = sampler.step(
                    self.field(name),
                    getattr(state, name),
                    getattr(prediction, name),
                    times_t,
                    torch.full_like(times_t, s),
                    numbers[name],
                    earlier.get(name),
                )
            state = replace(state, **stepped, time=s)
            if inpainting is not None:
                state = inpainting.hold(self, state, s)
            yield s, state


def __getattr__(name: str) -> Any:
    return moved(__name__, {"Solver": "pyg_crysdiff.diffusion.kinds.Solver"}, name)
