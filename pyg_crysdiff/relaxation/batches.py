"""Many relaxations at once: crystals that end leave the batch, and others take their place."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.asking import Asker, Refusal
from pyg_crysdiff.relaxation.descent import Descent, max_force, max_stress
from pyg_crysdiff.relaxation.geometry import right_handed, rms_moved
from pyg_crysdiff.relaxation.judges import Judge
from pyg_crysdiff.relaxation.potentials import Point
from pyg_crysdiff.relaxation.records import NAN, Relaxation, RelaxSettings

GPU_ATOMS = 4000  # per batch, where the device is no CPU
_GROWTH = 4.0  # largest factor of the volume, either way
_CLOSEST = 0.4  # A; no two atoms of a crystal are nearer


class Ended(NamedTuple):
    """A relaxation that came to its end.

    Attributes:
        place: Place of the crystal in the input, from 0.
        record: What became of it.
        final: Whether another try would end in the same way.
    """

    place: int
    record: Relaxation
    final: bool = True


def relax_all(
    crystals: Sequence[Crystal],
    judge: Judge,
    settings: RelaxSettings,
    *,
    device: str = "cpu",
    batch_atoms: int | None = None,
) -> Iterator[Ended]:
    """Yield the records of crystals in the order in which they end.

    Args:
        crystals: Crystals of any kind; what cannot be relaxed gives a record that says why.
        judge: Potential.
        settings: When a relaxation ends.
        device: Device of PyTorch.
        batch_atoms: Most atoms in a batch; a larger crystal is a batch of its own.
    """
    usual = judge.cpu_atoms if device == "cpu" else GPU_ATOMS
    asker = Asker(judge.potential(device), batch_atoms or usual)
    waiting = deque(enumerate(crystals))
    active: list[_Active] = []
    while waiting or active:
        room = asker.most_atoms - sum(len(a.start) for a in active)
        for index, crystal in _next(waiting, room, alone=not active):
            if problem := unfit(crystal, judge):
                yield Ended(index, Relaxation.failed(problem, judge.title))
            else:
                start = right_handed(crystal)
                active.append(_Active(index, start, Descent(start, settings)))
        answers = asker([a.descent.trial for a in active])
        ended = [_told(one, answer, judge) for one, answer in zip(active, answers, strict=True)]
        yield from (end for end in ended if end is not None)
        active = [one for one, end in zip(active, ended, strict=True) if end is None]


@dataclass(frozen=True)
class _Active:
    index: int
    start: Crystal
    descent: Descent


def _next(
    waiting: deque[tuple[int, Crystal]], room: int, *, alone: bool
) -> Iterator[tuple[int, Crystal]]:
    """Take crystals for which there is room, and at least one where nothing is at work."""
    while waiting and (alone or len(waiting[0][1]) <= room):
        room -= len(waiting[0][1])
        alone = False
        yield waiting.popleft()


def unfit(crystal: Crystal, judge: Judge) -> str:
    """Say why a judge cannot take a crystal; empty where it can."""
    if not len(crystal):
        return "no atoms"
    if not crystal.is_finite:
        return "cell or coordinates are not finite"
    if crystal.volume < 1e-3:
        return "the cell is flat"
    if judge.elements is None:
        return ""
    from ase.data import chemical_symbols  # noqa: PLC0415

    strange = sorted({int(z) for z in crystal.atomic_numbers} - judge.elements)
    names = [chemical_symbols[z] if 0 < z < len(chemical_symbols) else str(z) for z in strange]
    return f"{judge.title} does not know {', '.join(names)}" if names else ""


def _told(one: _Active, answer: Point | Refusal, judge: Judge) -> Ended | None:
    """Hand an answer to a relaxation; return its end, None where it goes on."""
    descent = one.descent
    if isinstance(answer, Point):
        if not (problem := _implausible(one, answer, judge)):
            descent.tell(answer)
            return Ended(one.index, _record(one, judge)) if descent.ended else None
        answer = Refusal(problem, final=True)
    before = NAN if descent.first_energy is None else descent.first_energy / len(one.start)
    record = Relaxation.failed(
        answer.reason, judge.title, energy_before=before, steps=descent.evaluations
    )
    return Ended(one.index, record, answer.final)


def _implausible(one: _Active, point: Point, judge: Judge) -> str:
    """Say what is wrong with a state on the way; empty where nothing is."""
    if not point.is_finite:
        return "the potential gave no numbers"
    energy, size = point.energy / len(one.start), one.descent.trial.volume / one.start.volume
    if energy < judge.lowest:
        return f"fell into a hole of the potential: {energy:.1f} eV/atom"
    if not 1 / _GROWTH < size < _GROWTH:
        return f"the cell went to {size:.2g} times its volume"
    return ""


def _record(one: _Active, judge: Judge) -> Relaxation:
    descent, n = one.descent, len(one.start)
    assert descent.point is not None  # told at least once
    assert descent.first_energy is not None
    before = descent.first_energy / n
    steps = descent.evaluations - 1
    if descent.evaluations > 1 and shortest_distance(descent.best) < _CLOSEST:
        problem = f"relaxed to atoms that are nearer than {_CLOSEST} A"
        return Relaxation.failed(problem, judge.title, energy_before=before, steps=steps)
    return Relaxation(
        crystal=descent.best,
        energy=descent.point.energy / n,
        energy_before=before,
        steps=steps,
        converged=descent.converged,
        max_force=max_force(descent.point),
        max_stress=max_stress(descent.point),
        moved=rms_moved(one.start, descent.best),
        volume_change=descent.best.volume / one.start.volume - 1,
        problem="",
        judge=judge.title,
    )


def shortest_distance(crystal: Crystal) -> float:
    """Return the shortest distance between two atoms, images included, A."""
    from pymatgen.core import Lattice  # noqa: PLC0415

    lattice = Lattice(crystal.lattice)
    distances = lattice.get_all_distances(crystal.frac_coords, crystal.frac_coords)
    np.fill_diagonal(distances, np.inf)
    return float(min(distances.min(), *lattice.abc))
