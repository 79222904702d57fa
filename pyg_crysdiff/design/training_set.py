"""What a generator learns from: found crystals, original ones, and what it remembers of both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data import CrystalDataset
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.data.statistics import DataStatistics, PropertyStatistics
from pyg_crysdiff.design.held_out import is_held_out
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.models.checkpoint import LoadedModel

if TYPE_CHECKING:
    from pyg_crysdiff.design.fine_tune_settings import FineTune

FOUND_RANK = "found_rank"  # number of a data set by which found crystals are drawn more often


@dataclass(frozen=True)
class TrainingSet:
    """The crystals of one fine-tuning.

    Attributes:
        train: What is trained on: replayed original crystals, then found ones, with the model's
            properties and the rank of the found ones (0 for the best; NaN for original ones).
        held_found: Found crystals that are held out.
        held_original: Original crystals that are held out.
        statistics: What the model is to remember: of all original and found crystals.
        facts: Numbers of crystals, and shares of the elements.
        properties: The model's properties.
    """

    train: CrystalDataset
    held_found: Sequence[Crystal]
    held_original: Sequence[Crystal]
    statistics: DataStatistics
    facts: dict[str, Any]
    properties: tuple[str, ...]

    @classmethod
    def of(
        cls,
        old: LoadedModel,
        original: Sequence[Crystal],
        found: Sequence[Crystal],
        objectives: Sequence[Objective],
        settings: FineTune,
        seed: int,
    ) -> Self:
        """Choose and split; arguments of :func:`pyg_crysdiff.design.learning.fine_tune`."""
        statistics, properties = old.model.statistics, old.model.properties
        elements = set(statistics.elements)
        base = [c for c in original if elements.issuperset(c.atomic_numbers.tolist())]
        usable = [c for c in found if elements.issuperset(c.atomic_numbers.tolist())]
        order = ranked(usable, objectives)
        order = selected(order, usable, objectives, properties, settings.min_found)
        chosen = few_of_each([usable[i] for i in order], base, settings.copies)
        held_found = [c for c in chosen if is_held_out(c, settings.held_out)]
        learnt = [c for c in chosen if not is_held_out(c, settings.held_out)]
        held_original = [c for c in base if is_held_out(c, settings.held_out)]
        pool = [c for c in base if not is_held_out(c, settings.held_out)]
        rng = np.random.default_rng(seed)
        replayed = [pool[i] for i in np.sort(rng.permutation(len(pool))[: settings.replay])]
        facts = {
            "found": len(found),
            "learnt": len(learnt),
            "held_found": len(held_found),
            "original": len(original),
            "replayed": len(replayed),
            "held_original": len(held_original),
            "unknown_elements": len(original) - len(base) + len(found) - len(usable),
            "elements": {"found": element_shares(chosen), "original": element_shares(base)},
        }
        return cls(
            train=_data_set(replayed, learnt, properties),
            held_found=held_found,
            held_original=[held_original[i] for i in rng.permutation(len(held_original))],
            statistics=remembered(statistics, base, chosen, properties),
            facts=facts,
            properties=properties,
        )

    def lacking(self, min_found: int, fewest_held: int) -> str:
        """Say what there is too little of to learn and to see whether it helped; empty if nothing.

        Args:
            min_found: Least number of found crystals.
            fewest_held: Least number of held-out crystals of either kind.
        """
        count = self.facts["learnt"] + self.facts["held_found"]
        if count < min_found:
            return f"{count} found crystals to learn from are fewer than {min_found}"
        for name, some in (("found", self.held_found), ("original", self.held_original)):
            if len(some) < fewest_held:
                return f"{len(some)} held-out {name} crystals are fewer than {fewest_held}"
        return ""

    def held(self, most: int) -> dict[str, CrystalDataset]:
        """Return the held-out crystals, ``found`` and ``original``, at most so many of each."""
        return {
            "found": _data_set((), self.held_found[:most], self.properties),
            "original": _data_set(self.held_original[:most], (), self.properties),
        }

    def contents(self) -> Iterator[str]:
        """Yield what decides the training: crystals with their numbers, in order."""
        for some in (self.train.crystals(), self.held_found, self.held_original):
            yield "#"
            for crystal in some:
                values = [crystal.info.get(name) for name in (*self.properties, FOUND_RANK)]
                yield f"{crystal.digest()}{values}|"


def value_of(crystal: Crystal, name: str) -> float:
    """Return a number of a crystal; NaN where it has none."""
    value = crystal.info.get(name)
    known = isinstance(value, int | float | np.number) and math.isfinite(value)
    return float(value) if known else math.nan  # type: ignore[arg-type]


def _shortfalls(
    crystals: Sequence[Crystal], objectives: Sequence[Objective]
) -> NDArray[np.float64]:
    """Return how far crystals are from what is wanted, in standard deviations, summed, (M,).

    Of an objective that is the lower (higher) the better it is the distance to the best.
    """
    total = np.zeros(len(crystals))
    for objective in objectives:
        values = np.array([value_of(c, objective.name) for c in crystals])
        scale = float(np.nanstd(values)) if np.isfinite(values).any() else 1.0
        off = objective.shortfall(values)
        if objective.direction:
            off = off + np.abs(values - _best(values, objective.direction))
        total += np.where(np.isnan(off), np.inf, off / (scale or 1.0))
    return total


def _best(values: NDArray[np.float64], direction: int) -> float:
    if not np.isfinite(values).any():
        return math.nan
    return float(np.nanmin(values) if direction < 0 else np.nanmax(values))


def ranked(crystals: Sequence[Crystal], objectives: Sequence[Objective]) -> list[int]:
    """Return the places of crystals, the nearest to what is wanted first."""
    return np.argsort(_shortfalls(crystals, objectives), kind="stable").tolist()


def selected(
    order: Sequence[int],
    crystals: Sequence[Crystal],
    objectives: Sequence[Objective],
    properties: Sequence[str],
    fewest: int,
) -> list[int]:
    """Return which crystals a model learns from, in the order given.

    All, where it can be asked for every objective. Else those that meet the objectives that it
    cannot be asked for; of one without bounds that is the better half. Where they are few, the
    nearest ones.

    Args:
        order: Places of the crystals, the best first.
        crystals: Crystals.
        objectives: What is wanted.
        properties: What the model can be asked for.
        fewest: Least number.
    """
    free = [o for o in objectives if o.name not in properties]
    met = np.ones(len(crystals), dtype=bool)
    for objective in free:
        values = np.array([value_of(c, objective.name) for c in crystals])
        met &= objective.met(values)
        if not objective.bounded and np.isfinite(values).any():
            middle = float(np.nanmedian(values))
            met &= values <= middle if objective.direction < 0 else values >= middle
    if met.sum() >= fewest or not free:
        return [i for i in order if met[i]]
    near = ranked(crystals, free)[:fewest]
    return [i for i in order if i in set(near)]


def few_of_each(
    crystals: Sequence[Crystal], original: Sequence[Crystal], copies: int
) -> list[Crystal]:
    """Return crystals without those of a composition that there are too many of.

    A composition may have a number of crystals, or the share that it has in the original data.

    Args:
        crystals: Found crystals, the best first.
        original: Original crystals.
        copies: The number.
    """
    common = Counter(reduced_formula(c) for c in original)
    count: Counter[str] = Counter()
    out = []
    for crystal in crystals:
        formula = reduced_formula(crystal)
        share = common[formula] / max(1, len(original))
        if count[formula] < max(copies, share * len(crystals)):
            count[formula] += 1
            out.append(crystal)
    return out


def element_shares(crystals: Sequence[Crystal]) -> dict[str, float]:
    """Return for each element the share of crystals that have it, the commonest first."""
    from pymatgen.core import Element  # noqa: PLC0415

    count = Counter(int(z) for c in crystals for z in np.unique(c.atomic_numbers))
    return {Element.from_Z(z).symbol: round(n / len(crystals), 4) for z, n in count.most_common()}


def _data_set(
    original: Sequence[Crystal], found: Sequence[Crystal], properties: Sequence[str]
) -> CrystalDataset:
    """Return crystals as a data set; found ones get the cells that data sets have."""
    reduced = CrystalDataset.from_crystals(found, []).crystals() if found else []
    crystals = [*original, *reduced]
    columns = {name: [value_of(c, name) for c in (*original, *found)] for name in properties}
    columns[FOUND_RANK] = [math.nan] * len(original) + [float(i) for i in range(len(found))]
    bare = [Crystal(c.lattice, c.frac_coords, c.atomic_numbers) for c in crystals]
    return CrystalDataset.from_crystals(bare, columns, name="original and found", niggli=False)


def remembered(
    old: DataStatistics,
    original: Sequence[Crystal],
    found: Sequence[Crystal],
    properties: Sequence[str],
) -> DataStatistics:
    """Return the statistics of a model that knows original and found crystals.

    Mean and standard deviation of a property stay: they are the units in which the network reads
    it. Where the original crystals at hand are far fewer than those that the model was trained on,
    what it knew stays, and its ranges are widened by what was found.

    Args:
        old: The model's statistics.
        original: Original crystals, all of them.
        found: Found crystals.
        properties: The model's properties.
    """
    everything = [*original, *found]
    values = {
        name: np.array([value_of(crystal, name) for crystal in everything]) for name in properties
    }
    known = [name for name in properties if np.isfinite(values[name]).any()]
    data = [
        crystal.to_data({name: float(values[name][i]) for name in known})
        for i, crystal in enumerate(everything)
    ]
    if not data:
        return old
    new = DataStatistics.from_dataset(data, known).in_units_of(old)
    if 2 * len(original) < old.num_crystals:
        sizes = dict.fromkeys(new.num_atoms, 1) | old.num_atoms
        widened = {
            name: _widened(p, new.properties.get(name)) for name, p in old.properties.items()
        }
        return replace(old, num_atoms=dict(sorted(sizes.items())), properties=widened)
    kept = {
        name: replace(new.properties[name], mean=p.mean, std=p.std) if name in known else p
        for name, p in old.properties.items()
    }
    return replace(new, properties=kept)


def _widened(old: PropertyStatistics, new: PropertyStatistics | None) -> PropertyStatistics:
    """Return the statistics of a property with the range of both."""
    if new is None:
        return old
    low, high = min(old.minimum, new.minimum), max(old.maximum, new.maximum)
    edges = list(old.bin_edges)
    return replace(
        old,
        minimum=low,
        maximum=high,
        quantiles=(low, *old.quantiles[1:-1], high),
        bin_edges=(low, *edges[1:-1], high) if len(edges) > 1 else old.bin_edges,
    )
