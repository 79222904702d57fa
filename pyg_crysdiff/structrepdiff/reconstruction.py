"""Find coordinates that have given descriptors: many starts, descents and hops, in waves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.moves import exchange, hop
from pyg_crysdiff.structrepdiff.objective import Objective, Walkers
from pyg_crysdiff.structrepdiff.search import Round, Search
from pyg_crysdiff.structrepdiff.starts import Array, Frame, make_starts

_PAIRS_AT_ONCE = 150_000
_EXCHANGED = 2  # walkers per crystal whose species are exchanged


@dataclass
class Reconstruction:
    """The outcome for one crystal.

    Attributes:
        frac_coords: Coordinates of the best walker, (N, 3).
        loss: Its distance from the target in the last objective, relative.
        converged: Whether the loss is below the tolerance of the search.
        evaluations: Evaluations of a walker spent on the crystal; nearly all with a gradient.
        trace: (evaluations, loss, coordinates) of the best walker after every wave.
    """

    frac_coords: Array
    loss: float = math.inf
    converged: bool = False
    evaluations: int = 0
    trace: list[tuple[int, float, Array]] = field(default_factory=list)


class Reconstructor:
    """Finds coordinates whose pooled EAD is the wanted one (arXiv 2408.07213, section 4.3).

    The paper runs basin hopping with Adam from uniform starts. Beyond it: starts that obey space
    groups of the cell, or fill space; wide Gaussians before narrow ones, which makes basins of
    attraction several times larger; losses over a short radius, which cost a fraction; swaps of
    species and relocations among the hops. ``configs/reconstruction`` has the paper's own setting
    beside ours.

    Args:
        ead: Descriptor.
        search: Settings.
        frequencies: Space-group counts of known crystals, which weight symmetric starts.
    """

    def __init__(
        self,
        ead: EmbeddedAtomDensity,
        search: Search | None = None,
        frequencies: Mapping[int, int] | None = None,
    ) -> None:
        self.ead, self.search = ead, search or Search()
        self.frequencies = frequencies
        self._objectives: dict[tuple[float, float | None], Objective] = {}

    def objective(self, settings: Round) -> Objective:
        """Return the objective of a round."""
        reach = self.ead.cutoff if settings.reach is None else settings.reach
        key = (reach, settings.largest_eta)
        if key not in self._objectives:
            self._objectives[key] = Objective(
                self.ead, *key, root=self.search.root, distance=self.search.distance
            )
        return self._objectives[key]

    def __call__(
        self,
        frames: Sequence[Frame],
        pooled: Tensor,
        seeds: Sequence[int],
        tick: Callable[[int], None] = lambda _: None,
    ) -> list[Reconstruction]:
        """Reconstruct crystals; up to rounding, the result of one does not depend on the others.

        Args:
            frames: Lattice and composition of each crystal.
            pooled: Wanted maxima and minima of the EAD, (C, 2 * ead.dim).
            seeds: Seed of each crystal.
            tick: Called with the number of crystals that have come to their end.
        """
        run = _Run(self, frames, pooled, seeds)
        for wave in range(self.search.waves):
            before = len(run.open)
            run.wave(wave)
            tick(before - len(run.open))
        run.polish()
        tick(len(run.open))
        return run.results

    @torch.no_grad()
    def losses(
        self, frames: Sequence[Frame], frac_coords: Sequence[Array], pooled: Tensor
    ) -> list[float]:
        """Return the losses of given structures in the last objective of the search.

        Args:
            frames: Lattice and composition of each, C of them.
            frac_coords: Their coordinates, (N, 3) each.
            pooled: Wanted maxima and minima of the EAD, (C, 2 * ead.dim).
        """
        objective = self.objective(self.search.polish or self.search.rounds[-1])
        target = objective.target(pooled)
        walkers = Walkers.joined(
            [
                _walkers(frame, index, x[None], pooled)
                for index, (frame, x) in enumerate(zip(frames, frac_coords, strict=True))
            ]
        )
        found = []
        for block in _blocks(walkers, objective.reach):
            part = walkers.select(block)
            objective.start(part)
            found.append(objective.loss(part, target))
        out: list[float] = torch.cat(found).tolist()
        return out


class _Run:
    """The state of one reconstruction: the best walkers of every open crystal."""

    def __init__(
        self, owner: Reconstructor, frames: Sequence[Frame], pooled: Tensor, seeds: Sequence[int]
    ) -> None:
        self.owner, self.search = owner, owner.search
        self.frames, self.pooled = frames, pooled
        self.rngs = [np.random.default_rng(seed) for seed in seeds]
        self.open = list(range(len(frames)))
        self.results = [Reconstruction(np.zeros((len(f.atomic_numbers), 3))) for f in frames]
        self.best: tuple[Walkers, Tensor] | None = None

    def wave(self, number: int) -> None:
        """Propose, descend, keep the best; crystals that are done leave."""
        if not self.open:
            return
        walkers, losses = self._proposals(number), None
        for settings in self.search.rounds:
            walkers, losses = self._descend(walkers, losses, settings)
        assert losses is not None
        if self.best is not None:
            walkers = Walkers.joined([self.best[0], walkers])
            losses = torch.cat([self.best[1], losses])
        if self.search.exchanges:
            walkers, losses = self._exchange(walkers, losses)
        if self.search.chains:
            index = _lower(losses, len(losses) if self.best is None else len(self.best[1]))
        else:
            index = _ranked(walkers, losses, self.search.population)
        walkers, losses = walkers.select(index), losses[index]
        self._record(walkers, losses)
        done = {c for c in self.open if self.results[c].loss < self.search.tolerance}
        self.best = self._part(walkers, losses, set(self.open) - done)
        self._finish(*self._part(walkers, losses, done))
        self.open = [c for c in self.open if c not in done]

    def _exchange(self, walkers: Walkers, losses: Tensor) -> tuple[Walkers, Tensor]:
        """Try other assignments of the species to the sites of the best walkers."""
        best = walkers.select(_ranked(walkers, losses, _EXCHANGED))
        parts = []
        for k, c in enumerate(best.crystal.tolist()):
            numbers = self.frames[c].atomic_numbers
            if len(np.unique(numbers)) > 1:
                x = best.select(torch.tensor([k])).frac_coords.cpu().double().numpy()
                orders = [exchange(numbers, self.rngs[c]) for _ in range(self.search.exchanges)]
                parts.append(self._walkers(c, np.stack([x[order] for order in orders])))
        if not parts:
            return walkers, losses
        last = self.search.rounds[-1]
        tried, found = self._descend(Walkers.joined(parts), None, replace(last, iterations=0))
        better, lower = self._descend(tried, found, replace(last, keep=1))
        return Walkers.joined([walkers, better]), torch.cat([losses, lower])

    def polish(self) -> None:
        """Bring the crystals that are still open to their end."""
        if self.open and self.best is not None:
            self._finish(*self.best)

    def _finish(self, walkers: Walkers, losses: Tensor) -> None:
        if self.search.polish is not None and len(walkers):
            self._record(*self._descend(walkers, losses, self.search.polish))

    def _proposals(self, number: int) -> Walkers:
        search, parts = self.search, []
        for c in self.open:
            count = search.fresh[min(number, 1)]
            if count:
                x, _ = make_starts(
                    self.frames[c], count, self.rngs[c], search.starts, self.owner.frequencies
                )
                parts.append(self._walkers(c, x))
        if number and search.hops:
            assert self.best is not None
            walkers = self.best[0]
            for c in self.open:
                members = torch.nonzero(walkers.crystal == c).flatten().tolist()
                near = [
                    walkers.select(torch.tensor([m])).frac_coords.cpu().double().numpy()
                    for m in members
                ]
                hops = [
                    hop(
                        near[k % len(near)], self.frames[c], self.rngs[c], search.moves, search.step
                    )
                    for k in range(search.hops)
                ]
                parts.append(self._walkers(c, np.stack(hops)))
        return Walkers.joined(parts)

    def _walkers(self, crystal: int, frac_coords: Array) -> Walkers:
        return _walkers(self.frames[crystal], crystal, frac_coords, self.pooled)

    def _descend(
        self, walkers: Walkers, losses: Tensor | None, settings: Round
    ) -> tuple[Walkers, Tensor]:
        """Run Adam on the best walkers, in blocks that fit the cache."""
        if losses is not None:
            walkers = walkers.select(_ranked(walkers, losses, settings.keep))
        objective = self.owner.objective(settings)
        target = objective.target(self.pooled)
        parts, found = [], []
        for block in _blocks(walkers, objective.reach):
            part = walkers.select(block)
            x = part.positions.clone().requires_grad_()
            optimizer = torch.optim.Adam([x], lr=settings.lr, betas=(0.9, 0.99))
            objective.start(part)
            for k in range(settings.iterations):
                share = 0.5 * (1 + math.cos(math.pi * k / settings.iterations))
                optimizer.param_groups[0]["lr"] = settings.lr * share + 1e-4
                optimizer.zero_grad()
                objective.loss(part.moved(x), target).sum().backward()
                optimizer.step()
            parts.append(part.moved(x.detach()))
            with torch.no_grad():
                found.append(objective.loss(parts[-1], target))
        for c in walkers.crystal.tolist():
            self.results[c].evaluations += settings.iterations + 1
        return Walkers.joined(parts), torch.cat(found)

    def _record(self, walkers: Walkers, losses: Tensor) -> None:
        """Take over the best walker of each crystal."""
        index = _ranked(walkers, losses, 1)
        best = walkers.select(index)
        frac = best.frac_coords.cpu().double().split(best.sizes.tolist())
        for c, x, loss in zip(best.crystal.tolist(), frac, losses[index].tolist(), strict=True):
            result = self.results[c]
            result.frac_coords, result.loss = x.numpy() % 1.0, loss
            result.converged = loss < self.search.tolerance
            result.trace.append((result.evaluations, loss, result.frac_coords))

    @staticmethod
    def _part(walkers: Walkers, losses: Tensor, crystals: set[int]) -> tuple[Walkers, Tensor]:
        keep = [k for k, c in enumerate(walkers.crystal.tolist()) if c in crystals]
        index = torch.tensor(keep, dtype=torch.long, device=losses.device)
        return walkers.select(index), losses[index]


def _walkers(frame: Frame, crystal: int, frac_coords: Array, like: Tensor) -> Walkers:
    """Walkers of one crystal at several coordinates, (W, N, 3), in the dtype of a tensor."""
    count = len(frac_coords)
    lattice = torch.as_tensor(frame.lattice, dtype=like.dtype, device=like.device)
    x = torch.as_tensor(frac_coords, dtype=like.dtype, device=like.device) @ lattice
    numbers = torch.as_tensor(frame.atomic_numbers, device=like.device)
    return Walkers(
        positions=x.view(-1, 3),
        numbers=numbers.repeat(count),
        lattice=lattice.expand(count, 3, 3),
        sizes=torch.full((count,), len(numbers), device=like.device),
        crystal=torch.full((count,), crystal, device=like.device),
        closest=lattice.new_full((count,), frame.min_distance),
    )


def _ranked(walkers: Walkers, losses: Tensor, keep: int) -> Tensor:
    """Return the walkers with the smallest losses of each crystal, crystal after crystal."""
    order = torch.argsort(losses.nan_to_num(nan=math.inf), stable=True)
    order = order[torch.argsort(walkers.crystal[order], stable=True)]
    crystal = walkers.crystal[order]
    rank = torch.arange(len(order), device=order.device) - torch.searchsorted(crystal, crystal)
    return order[rank < keep]


def _lower(losses: Tensor, count: int) -> Tensor:
    """Return which of each chain's places is lower; the hops follow the places before."""
    place = torch.arange(count, device=losses.device)
    if len(losses) == count:
        return place
    here, there = losses.nan_to_num(nan=math.inf).view(2, count)
    return torch.where(there < here, place + count, place)


def _blocks(walkers: Walkers, reach: float) -> list[Tensor]:
    """Cut walkers into runs with a bounded number of neighbour pairs."""
    volume = torch.linalg.det(walkers.lattice.cpu().double()).abs().clamp(min=1e-3)
    pairs = 2.1 * reach**3 * walkers.sizes.cpu().double() ** 2 / volume
    number = torch.div(torch.cumsum(pairs, 0), _PAIRS_AT_ONCE, rounding_mode="floor")
    sizes = torch.unique_consecutive(number, return_counts=True)[1].tolist()
    return list(torch.arange(len(walkers), device=walkers.lattice.device).split(sizes))
