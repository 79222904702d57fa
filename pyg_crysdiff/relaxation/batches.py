"""Many relaxations at once: crystals that end leave the batch, and others take their place."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.relaxation.descent import Descent, max_force, max_stress
from pyg_crysdiff.relaxation.geometry import right_handed, rms_moved
from pyg_crysdiff.relaxation.judges import Judge
from pyg_crysdiff.relaxation.potentials import Point, Potential
from pyg_crysdiff.relaxation.records import NAN, Relaxation, RelaxSettings

BATCH_ATOMS = {"cpu": 64}  # atoms per batch: no more than the caches of a core hold
GPU_ATOMS = 4000
_GROWTH = 4.0  # largest factor of the volume, either way
_CLOSEST = 0.4  # A; no two atoms of a crystal are nearer


def relax_all(
    crystals: Sequence[Crystal],
    judge: Judge,
    settings: RelaxSettings,
    *,
    device: str = "cpu",
    batch_atoms: int | None = None,
) -> Iterator[tuple[int, Relaxation]]:
    """Yield the index of a crystal and its record, in the order in which they end.

    Args:
        crystals: Crystals of any kind; what cannot be relaxed gives a record that says why.
        judge: Potential.
        settings: When a relaxation ends.
        device: Device of PyTorch.
        batch_atoms: Most atoms in a batch; a larger crystal is a batch of its own.
    """
    potential = judge.potential(device)
    budget = batch_atoms or BATCH_ATOMS.get(device, GPU_ATOMS)
    waiting = deque(enumerate(crystals))
    active: list[_Active] = []
    while waiting or active:
        for index, crystal in _next(waiting, budget - sum(len(a.start) for a in active), active):
            if problem := unfit(crystal, judge):
                yield index, Relaxation.failed(problem, judge.title)
            else:
                start = right_handed(crystal)
                active.append(_Active(index, start, Descent(start, settings)))
        answers = ask(potential, [a.descent.trial for a in active]) if active else []
        left = []
        for one, answer in zip(active, answers, strict=True):
            record = _told(one, answer, judge)
            if record is None:
                left.append(one)
            else:
                yield one.index, record
        active = left


@dataclass(frozen=True)
class _Active:
    index: int
    start: Crystal
    descent: Descent


def _next(
    waiting: deque[tuple[int, Crystal]], room: int, active: Sequence[_Active]
) -> Iterator[tuple[int, Crystal]]:
    """Take crystals for which there is room, and at least one where nothing is at work."""
    alone = not active
    while waiting and (alone or len(waiting[0][1]) <= room):
        room -= len(waiting[0][1])
        alone = False
        yield waiting.popleft()


def unfit(crystal: Crystal, judge: Judge) -> str:
    """Say why a judge cannot take a crystal; empty where it can."""
    if not len(crystal):
        return "no atoms"
    if not crystal.is_finite:
        return "not finite: cell or coordinates are no numbers"
    if crystal.volume < 1e-3:
        return "the cell is flat"
    if judge.elements is not None:
        from ase.data import chemical_symbols  # noqa: PLC0415

        strange = sorted({int(z) for z in crystal.atomic_numbers} - judge.elements)
        if strange:
            names = ", ".join(chemical_symbols[z] if 0 < z < 119 else str(z) for z in strange)
            return f"{judge.title} does not know {names}"
    return ""


def ask(potential: Potential, crystals: Sequence[Crystal]) -> list[Point | str]:
    """Evaluate crystals at once; where that fails in halves, down to the one that cannot be.

    Returns:
        A point for each crystal, or what is wrong with it.
    """
    try:
        return list(potential(crystals))
    except Exception as error:
        if len(crystals) == 1:
            return [f"{type(error).__name__}: {error}"]
    half = len(crystals) // 2
    return [*ask(potential, crystals[:half]), *ask(potential, crystals[half:])]


def _told(one: _Active, answer: Point | str, judge: Judge) -> Relaxation | None:
    """Hand an answer to a relaxation; return its record where that ends it."""
    descent = one.descent
    problem = answer if isinstance(answer, str) else _implausible(one, answer, judge)
    if not problem and isinstance(answer, Point):
        descent.tell(answer)
        return _record(one, judge) if descent.ended else None
    before = NAN if descent.first_energy is None else descent.first_energy / len(one.start)
    return Relaxation.failed(problem, judge.title, energy_before=before, steps=descent.evaluations)


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
    if shortest_distance(descent.best) < _CLOSEST:
        problem = f"two atoms are nearer than {_CLOSEST} A"
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

    distances = Lattice(crystal.lattice).get_all_distances(crystal.frac_coords, crystal.frac_coords)
    np.fill_diagonal(distances, np.inf)
    return float(min(distances.min(), *Lattice(crystal.lattice).abc))
