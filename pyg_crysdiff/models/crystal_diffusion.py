"""The joint family: a denoiser, a joint process and the units that connect them to crystals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.inpainting import Inpainting
from pyg_crysdiff.diffusion.joint import JointDiffusion
from pyg_crysdiff.diffusion.noise import CrystalNoise
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.diffusion.state import FIELDS, CrystalState, Denoise, Prediction
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.nn.denoiser import CachingDenoiser, Contexts, Denoiser
from pyg_crysdiff.nn.layout import PairLayout

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data, InMemoryDataset

LatticeUnits = Literal["angstrom", "scaled", "per_atom"]
_MAX_ATOMIC_NUMBER = 118


def lattice_unit(statistics: DataStatistics, units: LatticeUnits) -> tuple[float, bool]:
    """Return the length in Angstrom that the process calls 1, and whether N^(1/3) multiplies it.

    ``angstrom`` diffuses raw matrices as DiffCSP does; ``scaled`` divides by the root mean
    square entry of the training lattices, so that data and noise have the same size;
    ``per_atom`` does so after dividing by N^(1/3).

    Raises:
        ValueError: If the units are unknown.
    """
    scales = {
        "angstrom": (1.0, False),
        "scaled": (statistics.lattice_rms, False),
        "per_atom": (statistics.lattice_rms_per_atom, True),
    }
    if units not in scales:
        raise ValueError(f"unknown lattice units {units!r}; choose from {sorted(scales)}")
    return scales[units]


class CrystalDiffusion(Generator):
    """Joint diffusion model of crystals, conditional on scalar properties or not.

    Args:
        denoiser: Network.
        process: Joint process; its species classes are the elements of ``statistics``.
        statistics: Statistics of the training set.
        lattice_units: See :func:`lattice_unit`.
        condition_dropout: Probability with which a training crystal's condition is hidden from
            the network, so that one model also samples unconditionally and with
            classifier-free guidance (Ho & Salimans 2022).
    """

    family = "joint"

    class_of: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        process: JointDiffusion,
        statistics: DataStatistics,
        lattice_units: LatticeUnits = "scaled",
        condition_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.denoiser, self.process, self.statistics = denoiser, process, statistics
        self.condition_dropout = condition_dropout
        self.lattice_scale, self.per_atom = lattice_unit(statistics, lattice_units)
        class_of = torch.full((_MAX_ATOMIC_NUMBER + 1,), -1)
        class_of[list(statistics.elements)] = torch.arange(len(statistics.elements))
        self.register_buffer("class_of", class_of, persistent=False)
        self.register_buffer("elements", torch.tensor(statistics.elements), persistent=False)

    @property
    def num_steps(self) -> int:
        """T of the joint process."""
        return self.process.num_steps

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the properties the model can be conditioned on."""
        return self.denoiser.condition_embedding.properties

    @property
    def needs_formula(self) -> bool:
        """Whether the model predicts structures of given compositions only."""
        return self.process.field("species").given

    def scale(self, num_atoms: Tensor) -> Tensor:
        """Return Angstrom per unit of the process for each crystal, (B, 1, 1)."""
        n = num_atoms.view(-1, 1, 1)
        factor = n.to(torch.get_default_dtype()) ** (1 / 3) if self.per_atom else torch.ones_like(n)
        return self.lattice_scale * factor

    def state(self, batch: Batch | Data) -> CrystalState:
        """Convert a PyG batch of crystals to the units of the process.

        Raises:
            ValueError: If an element is not among those of the training set.
        """
        species = self.class_of[batch.atomic_numbers.clamp(0, _MAX_ATOMIC_NUMBER)]
        if bool((species < 0).any()):
            unknown = sorted(set(batch.atomic_numbers[species < 0].tolist()))
            raise ValueError(
                f"atomic numbers {unknown} do not occur in the training set "
                f"(it has {self.elements.tolist()})"
            )
        num_atoms = batch.num_atoms.view(-1)
        owner = getattr(batch, "batch", None)  # a single Data has none
        if owner is None:
            index = torch.arange(len(num_atoms), device=num_atoms.device)
            owner = torch.repeat_interleave(index, num_atoms)
        return CrystalState(
            lattice=batch.lattice.view(-1, 3, 3) / self.scale(num_atoms),
            coordinates=batch.frac_coords,
            species=species,
            num_atoms=num_atoms,
            batch=owner,
        )

    def crystals(self, state: CrystalState) -> list[Crystal]:
        """Convert a state at t = 0 to crystals in Angstrom."""
        lattice = (state.lattice * self.scale(state.num_atoms)).cpu().double().numpy()
        sizes = state.num_atoms.tolist()
        coordinates = state.coordinates.cpu().double().split(sizes)
        numbers = self.elements[state.species].cpu().split(sizes)
        return [
            Crystal(cell, f.numpy(), z.numpy())
            for cell, f, z in zip(lattice, coordinates, numbers, strict=True)
        ]

    def prepare(
        self, train: InMemoryDataset, val: InMemoryDataset, progress: bool = True
    ) -> tuple[InMemoryDataset, InMemoryDataset]:
        """Return what training reads of the data sets: crystals as they are."""
        del progress
        return train, val

    def loss(
        self, batch: Batch | Data, generator: torch.Generator, dropout: float | None = None
    ) -> dict[str, Tensor]:
        """Return the training losses of a batch: one per field, and ``total``.

        Args:
            batch: PyG batch of crystals; a pair layout that it carries as ``layout`` is used.
            generator: CPU generator of times, noise and condition dropout.
            dropout: Probability of hiding the condition; the model's own where None.
        """
        clean = self.state(batch)
        count = len(clean.num_atoms)
        device = clean.lattice.device
        t = self.process.training_times(count, generator).to(device)
        noise = self.process.training_noise(clean, generator)
        rate = self.condition_dropout if dropout is None else dropout
        condition = self.denoiser.condition_embedding.read(batch, count, rate, generator)
        noisy = self.process.corrupt(clean, t, noise)
        prediction = self.predict(noisy, t, condition, getattr(batch, "layout", None))
        return self.process.losses(prediction, clean, noisy, t, noise)

    def predict(
        self,
        state: CrystalState,
        t: Tensor,
        condition: Mapping[str, Tensor] | None = None,
        layout: PairLayout | None = None,
        **options: Any,
    ) -> Prediction:
        """Call the denoiser once on a state; outputs are float32 also under autocast."""
        outputs = self.denoiser(
            state.species,
            state.coordinates,
            state.lattice,
            state.num_atoms,
            t,
            condition,
            layout,
            **options,
        )
        return Prediction(*(x.to(state.lattice.dtype) for x in outputs))

    def denoise(
        self,
        num_atoms: Tensor,
        condition: Mapping[str, Tensor] | None = None,
        guidance: float = 1.0,
    ) -> Denoise:
        """Bind condition and guidance to the denoiser for one batch in sampling.

        With scale w the prediction is w * conditional + (1 - w) * unconditional, field by
        field: w = 1 is the plain conditional model and needs one network call, w = 0 the
        unconditional one.

        Args:
            num_atoms: Atoms per crystal, (B,).
            condition: Property name to values (B,); None for unconditional sampling.
            guidance: Scale w.
        """
        layout = PairLayout.build(num_atoms)
        cached: dict[bool, _Contexts] = {}
        if isinstance(self.denoiser, CachingDenoiser):
            make = self.denoiser.contexts()
            cached = {True: _Contexts(make, condition), False: _Contexts(make, None)}

        def call(state: CrystalState, t: Tensor, given: bool) -> Prediction:
            options = {"context": cached[given](t, state.time)} if cached else {}
            return self.predict(state, t, condition if given else None, layout, **options)

        def predict(state: CrystalState, t: Tensor) -> Prediction:
            if not condition or guidance == 0.0:
                return call(state, t, False)
            wanted = call(state, t, True)
            if guidance == 1.0:
                return wanted
            free = call(state, t, False)
            return Prediction(
                *(torch.lerp(getattr(free, k), getattr(wanted, k), guidance) for k in FIELDS)
            )

        return predict

    @torch.inference_mode()
    def generate(
        self,
        num_atoms: Sequence[int],
        seeds: Sequence[int],
        sampler: Sampler,
        condition: Mapping[str, Tensor] | None = None,
        guidance: float = 1.0,
        inpainting: Inpainting | None = None,
    ) -> Iterator[tuple[int, CrystalState]]:
        """Generate one batch, yielding (s, state at s) after every reverse step.

        Args:
            num_atoms: Atoms of each crystal.
            seeds: Seed of each crystal.
            sampler: Times and kind of the steps.
            condition: Property name to values (B,).
            guidance: Scale of classifier-free guidance.
            inpainting: What is given of the crystals, the lattices in Angstrom.
        """
        noise = CrystalNoise(seeds, num_atoms, self.elements.device)
        state = self.process.prior(torch.tensor(num_atoms), noise)
        denoise = self.denoise(state.num_atoms, condition, guidance)
        if inpainting is not None and inpainting.lattice is not None:
            scaled = inpainting.lattice / self.scale(state.num_atoms)
            inpainting = replace(inpainting, lattice=scaled)
        yield from self.process.reverse(state, denoise, noise, sampler, inpainting)


class _Contexts:
    """The contexts of one condition, each made once for all calls at one time.

    Args:
        make: Of :meth:`CachingDenoiser.contexts`.
        condition: Property name to values (B,); None for none.
    """

    def __init__(self, make: Contexts, condition: Mapping[str, Tensor] | None) -> None:
        self._make, self._condition = make, condition
        self._first = None if condition is None else {k: v[:1] for k, v in condition.items()}
        # One row stands for all crystals where they share the condition besides the time.
        self._alike = all(bool((v == v[:1]).all()) for v in (condition or {}).values())
        self._kept: tuple[int, Any] | None = None

    def __call__(self, t: Tensor, time: int | None) -> Any:
        """Return the context of times (B,); ``time`` is theirs where all are the same."""
        if time is None:
            return self._make(t, self._condition)
        if self._kept is None or self._kept[0] != time:
            rows = (t[:1], self._first) if self._alike else (t, self._condition)
            self._kept = (time, self._make(*rows))
        return self._kept[1]
