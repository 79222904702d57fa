"""The generator: what training, sampling and the benchmark ask of a model, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.inpainting import Inpainting
from pyg_crysdiff.diffusion.kinds import Solver
from pyg_crysdiff.diffusion.sampler import PRESETS, Sampler

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data, InMemoryDataset


class Generator(nn.Module, ABC):
    """A model of crystals that can be trained and sampled.

    A family of models derives from it, says in the class attributes what can be asked of it, and
    names its builder in :data:`pyg_crysdiff.models.build.FAMILIES`. Nothing else needs to know
    which families there are.

    Attributes:
        family: Name of the family, as ``model`` in a configuration has it.
        presets: Samplers by name, ``paper`` and ``fast``.
        solvers: Kinds of steps that it can make.
        corrector: Whether it can make corrector moves of coordinates, and temper them.
        takes_sizes: Whether numbers of atoms and hard constraints can be asked of it; if not, it
            generates both the number of atoms and the composition freely.
        crystals_at_once: Crystals that it makes in one batch where nobody asks for another
            number; None for as many as the memory takes.
        statistics: Statistics of the training set.
        elements: Atomic numbers of the training set, (K,), on the model's device.
    """

    family: ClassVar[str]
    presets: ClassVar[Mapping[str, Sampler]] = PRESETS
    solvers: ClassVar[tuple[Solver, ...]] = get_args(Solver)
    corrector: ClassVar[bool] = True
    takes_sizes: ClassVar[bool] = True
    crystals_at_once: ClassVar[int | None] = None

    statistics: DataStatistics
    elements: Tensor

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """T, the number of times of the diffusion process."""

    @property
    @abstractmethod
    def properties(self) -> tuple[str, ...]:
        """Names of the properties the model can be conditioned on."""

    @property
    def needs_formula(self) -> bool:
        """Whether the model predicts structures of given compositions only."""
        return False

    @abstractmethod
    def prepare(
        self, train: InMemoryDataset, val: InMemoryDataset, progress: bool = True
    ) -> tuple[Sequence[Data], Sequence[Data]]:
        """Return what training reads of the data sets; called once, before training."""

    @abstractmethod
    def loss(
        self, batch: Batch | Data, generator: torch.Generator, dropout: float | None = None
    ) -> dict[str, Tensor]:
        """Return the training losses of a batch by name; ``total`` is the one that is minimised.

        Args:
            batch: Batch of what :meth:`prepare` returned.
            generator: CPU generator of times, noise and condition dropout.
            dropout: Probability of hiding the condition; the model's own where None.
        """

    @abstractmethod
    def generate(
        self,
        num_atoms: Sequence[int],
        seeds: Sequence[int],
        sampler: Sampler,
        condition: Mapping[str, Tensor] | None = None,
        guidance: float = 1.0,
        inpainting: Inpainting | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Generate one batch, yielding (s, state at s) after every reverse step, the last at s = 0.

        Args:
            num_atoms: Atoms of each crystal; not used where :attr:`takes_sizes` is False.
            seeds: Seed of each crystal.
            sampler: Times and kind of the steps.
            condition: Property name to values (B,).
            guidance: Scale of classifier-free guidance.
            inpainting: What is given of the crystals, the lattices in Angstrom; None where
                :attr:`takes_sizes` is False.
        """

    @abstractmethod
    def crystals(self, state: Any) -> list[Crystal]:
        """Convert the last state of :meth:`generate` to crystals in Angstrom."""

    def sampler(self, base: str | None = None, **named: Any) -> Sampler:
        """Return one of this family's samplers, with no more steps than the model has.

        Args:
            base: Preset; None for ``fast``, or for ``paper`` where the ancestral solver is named.
            **named: Values of :class:`Sampler` that replace those of the preset; None counts as
                not named.

        Raises:
            ValueError: If there is no such preset, or a value is out of range.
        """
        own = {name: preset.within(self.num_steps) for name, preset in self.presets.items()}
        return Sampler.of(base, own, **named)

    def check_sampler(self, sampler: Sampler) -> None:
        """Refuse a sampler that this model cannot follow.

        Raises:
            ValueError: If it has more steps than T, or steps, moves or a temperature that the
                family lacks.
        """
        sampler.times(self.num_steps)
        if sampler.solver not in self.solvers:
            raise ValueError(
                f"a model of the family {self.family!r} cannot make {sampler.solver!r} steps; "
                f"choose the solver from {list(self.solvers)}, or a preset from "
                f"{list(self.presets)}"
            )
        if sampler.temperature != 1 and not self.corrector:
            raise ValueError(
                f"a model of the family {self.family!r} places no atoms by diffusion; ask for "
                f"temperature=1 (got {sampler.temperature:g})"
            )
        if sampler.corrector_steps and not self.corrector:
            raise ValueError(
                f"a model of the family {self.family!r} has no corrector moves; ask for "
                f"corrector_steps=0 (got {sampler.corrector_steps}), or for a preset from "
                f"{list(self.presets)}"
            )
