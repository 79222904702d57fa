"""The joint family: a denoiser, a joint process and the units that connect them to crystals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.statistics import DataStatistics, atomic_numbers_of
from pyg_crysdiff.diffusion.inpainting import Inpainting
from pyg_crysdiff.diffusion.joint import JointDiffusion
from pyg_crysdiff.diffusion.noise import CrystalNoise
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.diffusion.state import CrystalState, Denoise, Prediction
from pyg_crysdiff.models.bound import BoundDenoiser
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.nn.denoiser import Denoiser
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.platform import sent

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
        self._check_elements(batch.atomic_numbers)
        return self._state(batch)

    def _check_elements(self, numbers: Tensor) -> None:
        unknown = self._classes(numbers) < 0
        if bool(unknown.any()):
            raise ValueError(
                f"atomic numbers {sorted(set(numbers[unknown].tolist()))} do not occur in the "
                f"training set (it has {self.elements.tolist()})"
            )

    def _classes(self, numbers: Tensor) -> Tensor:
        """Return the species classes of atomic numbers, -1 for one that is unknown."""
        return self.class_of.to(numbers.device)[numbers.clamp(0, _MAX_ATOMIC_NUMBER)]

    def _state(self, batch: Batch | Data) -> CrystalState:
        species = self._classes(batch.atomic_numbers)
        num_atoms = batch.num_atoms.view(-1)
        owner = getattr(batch, "batch", None)  # a single Data has none
        if owner is None:
            index = torch.arange(len(num_atoms), device=num_atoms.device)
            owner = torch.repeat_interleave(index, num_atoms, output_size=len(species))
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
        """Return what training reads of the data sets: crystals as they are.

        Raises:
            ValueError: If an element is not among those of the training set.
        """
        del progress
        for part in (train, val):
            if len(part):
                self._check_elements(atomic_numbers_of(part))
        return train, val

    def loss(
        self, batch: Batch | Data, generator: torch.Generator, dropout: float | None = None
    ) -> dict[str, Tensor]:
        """Return the training losses of a batch: one per field, and ``total``.

        Args:
            batch: PyG batch of crystals; a pair layout that it carries as ``layout`` is used.
            generator: CPU generator of times, noise and condition dropout.
            dropout: Probability of hiding the condition; the model's own where None.

        Raises:
            ValueError: If an element is not among those of the training set. On a GPU nobody looks,
                for that would mean to wait for it; :meth:`prepare` has.
        """
        free = batch.atomic_numbers.device.type == "cpu"
        clean = self.state(batch) if free else self._state(batch)
        count = len(clean.num_atoms)
        t = sent(self.process.training_times(count, generator), clean.lattice.device)
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
        device = self.elements.device
        return BoundDenoiser(self.denoiser, self.predict, num_atoms, condition, guidance, device)

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
        sizes = torch.tensor(num_atoms)
        state = self.process.prior(sizes, noise)
        denoise = self.denoise(sizes, condition, guidance)
        if inpainting is not None and inpainting.lattice is not None:
            scaled = inpainting.lattice / self.scale(state.num_atoms)
            inpainting = replace(inpainting, lattice=scaled)
        yield from self.process.reverse(state, denoise, noise, sampler, inpainting)
