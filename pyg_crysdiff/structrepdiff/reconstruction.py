"""Find coordinates that have given descriptors: many starts, descents and hops, in waves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.moves import exchange, exchange_orbits, hop
from pyg_crysdiff.structrepdiff.objective import Objective
from pyg_crysdiff.structrepdiff.orbits import Orbits
from pyg_crysdiff.structrepdiff.search import Round, Search
from pyg_crysdiff.structrepdiff.starts import Array, Frame, Start, make_starts
from pyg_crysdiff.structrepdiff.symmetry import SpaceGroup, group_turns
from pyg_crysdiff.structrepdiff.walkers import Variables, Walkers

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
    species and relocations among the hops; descents and hops that keep a symmetry
    (:class:`pyg_crysdiff.structrepdiff.orbits.Orbits`). ``configs/reconstruction`` has the paper's
    own setting beside ours.

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
        if not frames:
            return []
        objective = self.objective(self.search.polish or self.search.rounds[-1])
        target = objective.target(pooled)
        walkers = Walkers.joined(
            [
                Walkers.at(frame, index, x[None], pooled)
                for index, (frame, x) in enumerate(zip(frames, frac_coords, strict=True))
            ]
        )
        found = []
        for block in objective.blocks(walkers):
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
        self.turns: dict[int, list[int]] = {}

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
            index = self._ranked(walkers, losses, self.search.population)
        walkers, losses = walkers.select(index), losses[index]
        self._record(walkers, losses)
        done = {c for c in self.open if self.results[c].loss < self.search.tolerance}
        self.best = self._part(walkers, losses, set(self.open) - done)
        self._finish(*self._part(walkers, losses, done))
        self.open = [c for c in self.open if c not in done]

    def _exchange(self, walkers: Walkers, losses: Tensor) -> tuple[Walkers, Tensor]:
        """Try other assignments of the species to the sites of the best walkers."""
        best = walkers.select(self._ranked(walkers, losses, _EXCHANGED))
        parts = [
            part
            for k, c in enumerate(best.crystal.tolist())
            if (part := self._exchanged(c, best.select(torch.tensor([k])))) is not None
        ]
        if not parts:
            return walkers, losses
        last = self.search.rounds[-1]
        tried, found = self._descend(Walkers.joined(parts), None, replace(last, iterations=0))
        better, lower = self._descend(tried, found, replace(last, keep=1))
        return Walkers.joined([walkers, better]), torch.cat([losses, lower])

    def _exchanged(self, crystal: int, walker: Walkers) -> Walkers | None:
        """Exchanges of a walker, of whole orbits where it has a symmetry; None for none."""
        numbers, rng = self.frames[crystal].atomic_numbers, self.rngs[crystal]
        if len(np.unique(numbers)) == 1:
            return None
        x = walker.frac_coords.cpu().double().numpy()
        orbits = walker.orbits[0] if walker.orbits else None
        orders = [
            exchange(numbers, rng) if orbits is None else exchange_orbits(numbers, orbits, rng)
            for _ in range(self.search.exchanges)
        ]
        different = {tuple(order): order for order in orders if order is not None}
        places = [x[order] for order in different.values()]
        if not places:
            return None
        group = None if orbits is None else orbits.group
        kept = [self._orbits(crystal, place, group) for place in places]
        return self._walkers(crystal, np.stack(places), kept)

    def polish(self) -> None:
        """Bring the crystals that are still open to their end."""
        if self.open and self.best is not None:
            self._finish(*self.best)

    def _finish(self, walkers: Walkers, losses: Tensor) -> None:
        if self.search.polish is not None and len(walkers):
            self._record(*self._descend(walkers, losses, self.search.polish))

    def _proposals(self, number: int) -> Walkers:
        if self.search.focused and number % 2:
            return Walkers.joined([self._focused(c, number // 2) for c in self.open])
        count = self.search.fresh[min(number, 1)]
        parts = [self._fresh(c, count) for c in self.open if count]
        if number and self.search.hops:
            parts += [self._hops(c) for c in self.open]
        return Walkers.joined(parts)

    def _fresh(self, crystal: int, count: int) -> Walkers:
        kinds, seen = self.search.starts, self.owner.frequencies
        return self._begun(
            crystal, make_starts(self.frames[crystal], count, self.rngs[crystal], kinds, seen)
        )

    def _focused(self, crystal: int, turn: int) -> Walkers:
        """Starts of the space group whose turn it is."""
        frame, rng = self.frames[crystal], self.rngs[crystal]
        if crystal not in self.turns:
            self.turns[crystal] = group_turns(frame.lattice, rng, self.owner.frequencies)
        turns = self.turns[crystal]
        only = turns[turn % len(turns)] if turns else None
        starts = make_starts(frame, self.search.focused, rng, ("symmetric",), only=only)
        return self._begun(crystal, starts)

    def _begun(self, crystal: int, starts: Sequence[Start]) -> Walkers:
        orbits = [self._orbits(crystal, s.frac_coords, s.group) for s in starts]
        return self._walkers(crystal, np.stack([s.frac_coords for s in starts]), orbits)

    def _hops(self, crystal: int) -> Walkers:
        """Hops away from the best walkers of a crystal, each walker in turn."""
        assert self.best is not None
        search, frame, rng = self.search, self.frames[crystal], self.rngs[crystal]
        members = torch.nonzero(self.best[0].crystal == crystal).flatten()
        near = self.best[0].select(members)
        places = near.frac_coords.cpu().double().view(len(near), -1, 3).numpy()
        hops, kept = [], []
        for k in range(search.hops):
            place = k % len(near)
            orbits = near.orbits[place] if near.orbits else None
            if orbits is not None and rng.random() >= search.symmetric_hops:
                orbits = None
            x = hop(places[place], frame, rng, search.moves, search.step, orbits)
            hops.append(x)
            kept.append(self._orbits(crystal, x, None if orbits is None else orbits.group))
        return self._walkers(crystal, np.stack(hops), kept)

    def _orbits(self, crystal: int, x: Array, group: SpaceGroup | None) -> Orbits | None:
        if group is None or not any(r.symmetric for r in self.search.rounds):
            return None
        return Orbits.of(self.frames[crystal], x, group)

    def _walkers(
        self, crystal: int, frac_coords: Array, orbits: Sequence[Orbits | None] = ()
    ) -> Walkers:
        return Walkers.at(self.frames[crystal], crystal, frac_coords, self.pooled, orbits)

    def _descend(
        self, walkers: Walkers, losses: Tensor | None, settings: Round
    ) -> tuple[Walkers, Tensor]:
        """Run Adam on the best walkers, in blocks that fit the cache."""
        if losses is not None:
            walkers = walkers.select(self._ranked(walkers, losses, settings.keep))
        objective = self.owner.objective(settings)
        target = objective.target(self.pooled)
        parts, found = [], []
        if not settings.symmetric and settings.iterations:
            walkers = replace(walkers, orbits=())
        for block in objective.blocks(walkers):
            part = walkers.select(block)
            variables = Variables(part, settings.symmetric)
            optimizer = torch.optim.Adam([variables.values], lr=settings.lr, betas=(0.9, 0.99))
            objective.start(part)
            for k in range(settings.iterations):
                share = 0.5 * (1 + math.cos(math.pi * k / settings.iterations))
                optimizer.param_groups[0]["lr"] = settings.lr * share + 1e-4
                optimizer.zero_grad()
                moved = part.moved(variables.positions)
                objective.loss(moved, target, self.search.bounds).sum().backward()
                optimizer.step()
            parts.append(part.moved(variables.positions.detach()))
            with torch.no_grad():
                found.append(objective.loss(parts[-1], target))
        for c in walkers.crystal.tolist():
            self.results[c].evaluations += settings.iterations + 1
        return Walkers.joined(parts), torch.cat(found)

    def _ranked(self, walkers: Walkers, losses: Tensor, keep: int) -> Tensor:
        """Return the best walkers of each crystal by their losses with penalties."""
        search = self.search
        if walkers.orbits and (search.free_penalty or search.freedom_penalty):
            free = losses.new_tensor([o is None for o in walkers.orbits])
            losses = losses * (1 + search.free_penalty * free)
            losses = losses * (1 + search.freedom_penalty * walkers.freedom)
        return walkers.ranked(losses, keep)

    def _record(self, walkers: Walkers, losses: Tensor) -> None:
        """Take over the best walker of each crystal."""
        index = self._ranked(walkers, losses, 1)
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


def _lower(losses: Tensor, count: int) -> Tensor:
    """Return which of each chain's places is lower; the hops follow the places before."""
    place = torch.arange(count, device=losses.device)
    if len(losses) == count:
        return place
    here, there = losses.nan_to_num(nan=math.inf).view(2, count)
    return torch.where(there < here, place + count, place)
