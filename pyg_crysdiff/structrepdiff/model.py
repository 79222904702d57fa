"""The model to train and sample: diffusion of representations, and crystals made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.diffusion.gaussian import GaussianDDPM
from pyg_crysdiff.diffusion.inpainting import Inpainting
from pyg_crysdiff.diffusion.kinds import Solver
from pyg_crysdiff.diffusion.noise import RowNoise, crystal_seed
from pyg_crysdiff.diffusion.sampler import Earlier, Sampler
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.platform import sent
from pyg_crysdiff.structrepdiff.basis import Basis, Entries
from pyg_crysdiff.structrepdiff.composition import KnownCounts
from pyg_crysdiff.structrepdiff.counts import CountPosterior
from pyg_crysdiff.structrepdiff.finishing import finished
from pyg_crysdiff.structrepdiff.mlp import RepresentationMLP
from pyg_crysdiff.structrepdiff.part_loss import PartLoss
from pyg_crysdiff.structrepdiff.prediction import Parameterisation, Predicted
from pyg_crysdiff.structrepdiff.reconstruction import Reconstructor
from pyg_crysdiff.structrepdiff.representation import Parts, Representation
from pyg_crysdiff.structrepdiff.search import Search
from pyg_crysdiff.structrepdiff.starts import Frame
from pyg_crysdiff.structrepdiff.stored import group_counts, represented
from pyg_crysdiff.structrepdiff.unet import RepresentationUNet
from pyg_crysdiff.structrepdiff.whole_counts import WholeCounts

if TYPE_CHECKING:
    from torch_geometric.data import Batch, Data, InMemoryDataset

Denoiser = RepresentationUNet | RepresentationMLP
Condition = Mapping[str, Tensor] | None


@dataclass(frozen=True)
class RepresentationState:
    """Representations on the way from noise.

    Attributes:
        values: Coordinates of representations, (B, D).
        seeds: Seed of each.
    """

    values: Tensor
    seeds: tuple[int, ...]


class StructRepDiff(Generator):
    r"""Diffusion in descriptor space with gradient-based reconstruction (arXiv 2408.07213).

    A :class:`pyg_crysdiff.models.Generator` like any other: training, sampling and benchmark do
    not tell the families apart. The number of atoms is part of what is generated. There are no
    coordinates to correct, and no noise to renew.

    Args:
        denoiser: Network.
        representation: Descriptor and its inverse parts.
        statistics: Statistics of the training set.
        search: Settings of the reconstruction.
        num_steps: T.
        s: Offset of the cosine schedule.
        max_beta: Upper bound of one beta.
        margin: See there.
        condition_dropout: Probability of hiding a training crystal's condition.
        basis: Coordinates in which representations are diffused; None for single entries.
        predict: See :class:`pyg_crysdiff.structrepdiff.prediction.Parameterisation`.
        counts: What whole counts of atoms say of a noised composition; None where it is fractions.
        potentials: See :class:`pyg_crysdiff.structrepdiff.whole_counts.WholeCounts`.
        sum_potentials: ``of_sums`` there.
        part_weights: Shares of descriptor, composition, and cell with N in the loss; None for as
            much as they have coordinates.

    Raises:
        ValueError: If ``predict`` is unknown, or the weights are not three positive numbers.
    """

    family = "structrepdiff"
    presets: ClassVar[Mapping[str, Sampler]] = {
        "paper": Sampler("ancestral", None),
        "fast": Sampler("ancestral", 250),
    }
    solvers: ClassVar[tuple[Solver, ...]] = ("ancestral", "flow")
    corrector = False
    takes_sizes = False
    crystals_at_once = 32  # they are reconstructed side by side, and written when all are done

    mean: Tensor
    std: Tensor
    extreme: Tensor
    frequencies: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        representation: Representation,
        statistics: DataStatistics,
        search: Search,
        num_steps: int = 2000,
        s: float = 0.008,
        max_beta: float = 0.999,
        margin: float | None = 1.1,
        condition_dropout: float = 0.1,
        basis: Basis | None = None,
        predict: Predicted = "noise",
        part_weights: Sequence[float] | None = None,
        counts: CountPosterior | None = None,
        potentials: bool = False,
        sum_potentials: bool = False,
    ) -> None:
        super().__init__()
        self.basis = Entries(representation.widths) if basis is None else basis
        self.part_loss = PartLoss(self.basis.parts, part_weights)
        self.denoiser, self.representation, self.search = denoiser, representation, search
        self.statistics, self.counts = statistics, counts
        self.condition_dropout = condition_dropout
        self.process = GaussianDDPM((self.basis.dim,), num_steps, s, max_beta)
        self.parameterisation = Parameterisation(self.process, predict, margin)
        self.whole: WholeCounts | None = None
        if counts is not None:
            told = potentials, sum_potentials
            self.whole = WholeCounts(counts, self.basis.parts, self.parameterisation, *told)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.zeros(representation.dim))
        self.register_buffer("extreme", torch.zeros(self.basis.dim))
        self.register_load_state_dict_post_hook(_forget)
        self.register_buffer("frequencies", torch.zeros(231, dtype=torch.long))
        self.register_buffer("elements", torch.tensor(statistics.elements), persistent=False)

    @property
    def num_steps(self) -> int:
        """T of the process."""
        return self.process.num_steps

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the properties the model can be conditioned on."""
        return self.denoiser.condition_embedding.properties

    def prepare(
        self, train: InMemoryDataset, val: InMemoryDataset, progress: bool = True
    ) -> tuple[list[Data], list[Data]]:
        """Compute all representations once, and standardisation and symmetry from the training set.

        The principal components of a model that was trained before stay, with their units: its
        network knows no others.

        Returns:
            Training and validation data with ``representation`` (1, D) and the properties.
        """
        self.part_loss.forget()
        out = [
            represented(self.representation, part, self.properties, progress)
            for part in (train, val)
        ]
        values = torch.cat([data.representation for data in out[0]])
        if not self.basis.fitted:
            self.mean.copy_(values.mean(0))
            std = values.std(0, unbiased=False)
            # Entries that do not vary (empty shells, the only element) carry nothing.
            self.std.copy_(torch.where(std > 1e-5 * (1 + self.mean.abs()), std, 0.0))
            self.basis.fit(self.standardise(values), self.std)
            self._fit_counts(values)
        self.extreme.copy_(self.basis(self.standardise(values)).abs().amax(0))
        self.frequencies.zero_()
        for number, count in group_counts(train, progress=progress).items():
            self.frequencies[number] = count
        return out[0], out[1]

    def _fit_counts(self, values: Tensor) -> None:
        if self.counts is None:
            return
        places = slice(sum(self.representation.widths[:2]), sum(self.representation.widths[:3]))
        none, one = self.mean.clone(), self.mean.clone()
        none[places], one[places] = 0.0, 1.0
        offset, after = self.basis(self.standardise(torch.stack([none, one])))[:, self._composition]
        self.counts.fit(values[:, places].round().long(), offset, after - offset)

    @property
    def _composition(self) -> slice:
        """Places of the composition among the coordinates."""
        start = self.basis.parts[0]
        return slice(start, start + self.basis.parts[1])

    def standardise(self, values: Tensor) -> Tensor:
        """Scale representations to mean 0 and variance 1; constant entries become 0."""
        scaled = (values - self.mean) / torch.where(self.std > 0, self.std, 1.0)
        return torch.where(self.std > 0, scaled, 0.0)

    def loss(
        self, batch: Batch | Data, generator: torch.Generator, dropout: float | None = None
    ) -> dict[str, Tensor]:
        """Return the mean squared error of the prediction, as ``total``, and that of each part.

        Args:
            batch: Batch with ``representation``, or of crystals.
            generator: CPU generator of times, noise and condition dropout.
            dropout: Probability of hiding the condition; the model's own where None.
        """
        values = batch.representation if "representation" in batch else self.representation(batch)
        clean = self.basis(self.standardise(values))
        count, device = len(clean), clean.device
        t = torch.randint(1, self.process.num_steps + 1, (count,), generator=generator)
        t, noise = sent(t, device), sent(torch.randn(clean.shape, generator=generator), device)
        rate = self.condition_dropout if dropout is None else dropout
        condition = self.denoiser.condition_embedding.read(batch, count, rate, generator)
        return self.part_loss(self.errors(clean, noise, t, condition), self.extreme)

    def errors(self, clean: Tensor, noise: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return squared errors of the prediction, (B, D); see :meth:`WholeCounts.errors`.

        Args:
            clean: Coordinates, (B, D).
            noise: Noise on them, (B, D).
            t: Times, (B,).
            condition: Property name to raw values (B,); NaN means not given.
        """
        noisy = self.process.corrupt(clean, t, noise)
        hints = self._hints(noisy, t)
        out = self._network(noisy, t, condition, hints)
        if self.whole is None or hints is None:
            return (out - self.parameterisation.target(clean, noise, t)).square()
        return self.whole.errors(out, clean, noise, noisy, t, hints)

    def _hints(self, x: Tensor, t: Tensor) -> Tensor | None:
        """What whole counts say without the network, (B, K), the same for every condition."""
        return None if self.whole is None else self.whole.hints(x, t)

    def _network(self, x: Tensor, t: Tensor, condition: Condition, hints: Tensor | None) -> Tensor:
        """All that the network tells, (B, D) or more."""
        if hints is None:
            return self.denoiser(x, t, condition).to(x.dtype)
        assert self.counts is not None
        assert isinstance(self.denoiser, RepresentationMLP)
        return self.denoiser(x, t, condition, hints / self.counts.spread()).to(x.dtype)

    def _denoised(
        self,
        x: Tensor,
        t: Tensor,
        condition: Condition,
        hints: Tensor | None,
        uniform: Tensor | None = None,
    ) -> Tensor:
        """The prediction, (B, D); with ``uniform`` of :meth:`WholeCounts.prediction`."""
        out = self._network(x, t, condition, hints)
        if self.whole is None or hints is None:
            return out
        return self.whole.prediction(out, x, t, hints, uniform)

    @torch.inference_mode()
    def generate(
        self,
        num_atoms: Sequence[int],
        seeds: Sequence[int],
        sampler: Sampler,
        condition: Mapping[str, Tensor] | None = None,
        guidance: float = 1.0,
        inpainting: Inpainting | None = None,
    ) -> Iterator[tuple[int, RepresentationState]]:
        """Generate one batch of representations, yielding (s, state at s) after every step.

        Args:
            num_atoms: Not used: N is generated.
            seeds: Seed of each crystal.
            sampler: Times and kind of the steps.
            condition: Property name to values (B,).
            guidance: Scale of classifier-free guidance.
            inpainting: Not used: nothing can be given.
        """
        del num_atoms, inpainting
        noise = RowNoise(seeds, self.mean.device)
        x = self.process.prior(noise.normal(self.basis.dim))
        times = sampler.times(self.num_steps)
        for after, values in self.denoise(x, times, noise, sampler, condition, guidance):
            yield after, RepresentationState(values, tuple(seeds))

    @torch.inference_mode()
    def denoise(
        self,
        x: Tensor,
        times: Sequence[int],
        noise: RowNoise,
        sampler: Sampler,
        condition: Mapping[str, Tensor] | None = None,
        guidance: float = 1.0,
    ) -> Iterator[tuple[int, Tensor]]:
        """Take noised coordinates (B, D) from the first time to the last, yielding each step.

        Args:
            x: Coordinates at the first time.
            times: Falling times, from T or less to 0.
            noise: Random numbers of the B representations.
            sampler: Kind of the steps.
            condition: Property name to values (B,).
            guidance: Scale of classifier-free guidance.
        """
        device = self.mean.device
        condition = {name: sent(value, device) for name, value in (condition or {}).items()}
        # Predictions that guidance leads beyond both distributions are of none: nothing to draw.
        one_side = not condition or guidance in (0.0, 1.0)
        potentials = self.whole is not None and self.whole.potentials
        draws = potentials and sampler.solver == "ancestral" and one_side
        earlier: Earlier | None = None
        for time, after in pairwise(times):
            t, s = (torch.full((len(x),), value, device=device) for value in (time, after))
            uniform = noise.uniform(self.basis.parts[1] + 1) if draws else None
            prediction = self._predict(x, t, condition, guidance, uniform)
            normal = noise.normal(self.basis.dim)
            x, earlier = sampler.step(self.process, x, prediction, t, s, normal, earlier)
            yield after, x

    def _predict(
        self,
        x: Tensor,
        t: Tensor,
        condition: Condition,
        guidance: float,
        uniform: Tensor | None = None,
    ) -> Tensor:
        """Noise predicted, (B, D); with ``uniform`` of :meth:`WholeCounts.prediction`."""
        hints = self._hints(x, t)
        if not condition or guidance == 0.0:
            out = self._denoised(x, t, None, hints, uniform)
        else:
            out = self._denoised(x, t, condition, hints, uniform)
            if guidance != 1.0:
                out = torch.lerp(self._denoised(x, t, None, hints), out, guidance)
        return self.parameterisation.noise(x, t, out, self.extreme)

    def values(self, state: RepresentationState) -> Tensor:
        """Return the representations of a state in their own units, (B, D)."""
        values = self.basis.inverse(state.values)
        return torch.where(self.std > 0, values * self.std, 0.0) + self.mean

    @torch.no_grad()
    def crystals(self, state: Any) -> list[Crystal]:
        """Reconstruct crystals from a :class:`RepresentationState` at t = 0.

        ``info`` of each tells the loss and whether it is below the tolerance of the search.
        """
        parts = self.representation.parts(self.values(state))
        frames = self.frames(parts)
        seeds = [crystal_seed(seed, 0, "reconstruct") for seed in state.seeds]
        with torch.inference_mode(False), torch.enable_grad():
            reconstructor = self.reconstructor()
            found = reconstructor(frames, parts.pooled.clone(), seeds)
        return finished(reconstructor, frames, found, parts.pooled)

    def frames(self, parts: Parts) -> list[Frame]:
        """Return lattice and composition of generated representations, repaired."""
        known, counts, error = None, self.statistics.counts, self.search.composition_error
        if error and counts:
            _, _, fractions, size, _ = self.std.double().split(self.representation.widths)
            if self.representation.counts:
                fractions = fractions / self.mean.split(self.representation.widths)[3]
            known = KnownCounts(counts, float(fractions.square().mean().sqrt()), float(size), error)
        return self.representation.frames(
            parts, sorted(self.statistics.num_atoms), known, self.search.cell_tolerance
        )

    def reconstructor(self) -> Reconstructor:
        """Return the reconstruction of this model's descriptor and training set."""
        seen: dict[int, Any] = {k: v for k, v in enumerate(self.frequencies.tolist()) if v}
        return Reconstructor(self.representation.ead, self.search, seen)


def _forget(model: StructRepDiff, _: Any) -> None:
    """Other weights have come with another scale."""
    model.part_loss.forget()
