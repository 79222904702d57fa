"""Hulls of known crystals by a judge: which crystals they need, their energies, and their bias.

A hull of unrelaxed energies lies above that of relaxed ones, so relaxed samples look better than
they are. Here known crystals are relaxed with the judge and the settings of the samples.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Element

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.distribution import num_elements, reduced_formula
from pyg_crysdiff.evaluation.hull import HullFile, Phase, composition_of, counts
from pyg_crysdiff.storage import facts_digest

if TYPE_CHECKING:
    from pyg_crysdiff.relaxation import Judge, Relaxation, RelaxSettings

RANKED_BY = ("e_above_hull", "formation_energy_per_atom")
_MOST = 2000  # compositions at which two hulls are compared
_ELEMENTS = range(1, 119)


def chemical_systems(crystals: Iterable[Crystal]) -> set[frozenset[int]]:
    """Return the sets of atomic numbers that occur; crystals with numbers of no element do not."""
    systems = {frozenset(crystal.atomic_numbers.tolist()) for crystal in crystals}
    return {s for s in systems if s and all(z in _ELEMENTS for z in s)}


def in_systems(known: Sequence[Crystal], systems: set[frozenset[int]]) -> list[Crystal]:
    """Return the crystals whose elements all lie in one of the systems, elements included."""
    holding: dict[int, set[int]] = defaultdict(set)
    for index, system in enumerate(systems):
        for z in system:
            holding[z].add(index)
    wanted = {s: bool(set.intersection(*(holding[z] for z in s))) for s in chemical_systems(known)}
    return [c for c in known if wanted.get(frozenset(c.atomic_numbers.tolist()), False)]


def lowest_of_composition(known: Sequence[Crystal], count: int) -> list[Crystal]:
    """Return of each reduced composition the ``count`` crystals that are lowest in their own data.

    The order is that of ``e_above_hull`` or ``formation_energy_per_atom`` in ``info``, whichever
    more crystals have. A crystal without a value is kept, and so are all crystals of elements:
    every hull rests on them, and a judge may fail on one.

    Raises:
        ValueError: If no crystal has such a value.
    """
    ranks: dict[str, list[tuple[float, int]]] = defaultdict(list)
    chosen: set[int] = set()
    name = _most_frequent(known)
    for index, crystal in enumerate(known):
        value = _value(crystal, name)
        if value is None or num_elements(crystal) == 1:
            chosen.add(index)
        else:
            ranks[reduced_formula(crystal)].append((value, index))
    for members in ranks.values():
        chosen |= {index for _, index in sorted(members)[:count]}
    return [crystal for index, crystal in enumerate(known) if index in chosen]


def _most_frequent(known: Sequence[Crystal]) -> str:
    """Return the column that most crystals have a value in."""
    found = {name: sum(_value(c, name) is not None for c in known) for name in RANKED_BY}
    name = max(RANKED_BY, key=lambda key: found[key])
    if not found[name]:
        raise ValueError(
            f"the known crystals carry none of {', '.join(RANKED_BY)}, by which the lowest of a "
            "composition could be chosen; leave the limit out"
        )
    return name


def _value(crystal: Crystal, name: str) -> float | None:
    value = crystal.info.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def make_hull(
    known: Sequence[Crystal],
    judge: Judge,
    settings: RelaxSettings,
    *,
    source: str,
    facts: dict[str, Any] | None = None,
    **running: Any,
) -> HullFile:
    """Relax known crystals, and return them as the phases of a hull.

    A crystal whose relaxation fails is no phase. One that did not converge is, with the energy that
    it reached. With ``settings.steps`` 0 the energies are those of the crystals as they are.

    Args:
        known: Known crystals; equal ones are one phase.
        judge: Potential.
        settings: As the samples will be relaxed.
        source: Which crystals these are, for the file.
        facts: More for the file.
        **running: ``cache_dir``, ``num_workers``, ``device`` and ``progress`` of
            :func:`pyg_crysdiff.relaxation.relax`.
    """
    once = distinct(known)
    found = energies_of(once, judge, settings, **running)
    pairs = list(zip(once, found, strict=True))
    phases = [_phase(c, r) for c, r in pairs if math.isfinite(r.energy)]
    said = {
        **(facts or {}),
        "failed": len(once) - len(phases),
        "not_converged": sum(math.isfinite(r.energy) and not r.converged for r in found)
        if settings.steps
        else 0,
    }
    return HullFile(phases, judge.title, settings.key, scheme_of(judge), source=source, facts=said)


def hull_key(known: Sequence[Crystal], judge: Judge, settings: RelaxSettings) -> str:
    """Return a digest of what decides a hull: the crystals, the judge, the settings."""
    facts = [judge.identity, settings.key]
    return facts_digest(facts, sorted(crystal.digest() for crystal in known))


def energies_of(
    crystals: Sequence[Crystal], judge: Judge, settings: RelaxSettings, **running: Any
) -> list[Relaxation]:
    """Relax crystals, or with no steps compute their energies as they are."""
    from pyg_crysdiff.relaxation import relax, single_points  # noqa: PLC0415

    if settings.steps == 0:
        return single_points(crystals, judge, **running)
    return relax(crystals, judge, settings, **running)


def scheme_of(judge: Judge) -> str:
    """Return the corrections that a judge's energies hold; where it does not say, its title."""
    return judge.scheme or f"as {judge.title}"


def distinct(known: Sequence[Crystal]) -> list[Crystal]:
    """Return crystals without repetitions, to the last bit; the first of equal ones stays."""
    once: dict[str, Crystal] = {}
    for crystal in known:
        once.setdefault(crystal.digest(), crystal)
    return list(once.values())


def _phase(crystal: Crystal, found: Relaxation) -> Phase:
    size = len(crystal)
    name = str(crystal.info.get("material_id", ""))
    return Phase(counts(crystal), found.energy * size, found.energy_before * size, name)


def elements_without_phase(hull: HullFile, systems: Iterable[frozenset[int]]) -> list[str]:
    """Return the elements of chemical systems that have no phase of their own in a hull."""
    pure = {next(iter(p.composition)) for p in hull.phases if len(p.composition) == 1}
    return [
        symbol
        for z in sorted({z for system in systems for z in system})
        if (symbol := Element.from_Z(z).symbol) not in pure
    ]


@dataclass(frozen=True)
class Bias:
    """How much higher energies are that were not relaxed, eV/atom.

    Attributes:
        gains: Energy before less energy after relaxation of every phase, (P,).
        hull: Hull of unrelaxed less hull of relaxed energies at compositions, (C,). So much lower
            above the hull does a relaxed sample look by a hull of unrelaxed energies.
    """

    gains: NDArray[np.float64]
    hull: NDArray[np.float64]

    def lines(self) -> list[str]:
        """Return two lines for the screen."""
        return [
            f"relaxing the phases lowers their energies by {_spread(self.gains, 'phases')}",
            "a hull of the unrelaxed energies would lie higher by "
            f"{_spread(self.hull, 'compositions')}",
        ]

    def facts(self) -> dict[str, Any]:
        """Return the numbers for a file."""
        return {"phases": _numbers(self.gains), "hull": _numbers(self.hull)}


def bias_of(hull: HullFile, at: Sequence[Crystal] = (), seed: int = 0) -> Bias:
    """Compare the hull of relaxed energies with that of unrelaxed ones.

    Args:
        hull: Phases with both energies.
        at: Crystals at whose compositions the hulls are compared, such as the samples; none for
            compositions of the phases. Of many, 2,000 are drawn.
        seed: Seed of that draw.
    """
    size = np.array([sum(p.composition.values()) for p in hull.phases])
    gains = np.array([p.energy_unrelaxed - p.energy for p in hull.phases]) / size
    every = [composition_of(c) for c in at if chemical_systems([c])]
    every = every or [Composition(p.composition) for p in hull.phases]
    once = list({c.reduced_formula: c for c in every}.values())
    drawn = np.sort(np.random.default_rng(seed).permutation(len(once))[:_MOST])
    before, after = hull.hull(relaxed=False), hull.hull()
    raised = [before.energy_at(once[k]) - after.energy_at(once[k]) for k in drawn]
    return Bias(gains[np.isfinite(gains)], np.array([x for x in raised if math.isfinite(x)]))


def _numbers(values: NDArray[np.float64]) -> dict[str, float | int | None]:
    if not len(values):
        return {"count": 0, "mean": None, "median": None, "largest": None}
    return {
        "count": len(values),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "largest": float(values.max()),
    }


def _spread(values: NDArray[np.float64], what: str) -> str:
    found = _numbers(values)
    if not found["count"]:
        return f"an unknown amount (no {what})"
    return (
        f"{found['mean']:.4f} eV/atom (median {found['median']:.4f}, largest "
        f"{found['largest']:.3f}; {found['count']:,} {what})"
    )
