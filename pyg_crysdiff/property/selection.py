"""The best of many candidates: valid, nearest to a wanted property, none of them too often.

Data flow: candidates of any model -> predictions of a property model -> candidates in
the order of their distance to the request -> those that are valid and not chosen yet.

The property model that selects must not be the one that judges: a judge that has chosen what it
judges finds its own errors. Train the selecting one on the generator's training set and the judging
one on other crystals, as :mod:`pyg_crysdiff.benchmark` does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.predictor import PropertyPredictor
from pyg_crysdiff.known.cells import Cell, Key, matcher, matching_key
from pyg_crysdiff.known.comparing import CellGroup
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.known.finding import KnownCells
from pyg_crysdiff.progress import bar
from pyg_crysdiff.property.cdvae import load_evaluator


@dataclass(frozen=True)
class Choice:
    """What was chosen of many candidates, and why others were not.

    Attributes:
        indices: Indices of the chosen candidates, nearest first.
        invalid: Candidates that were left out since they are broken or not valid.
        copies: Candidates that were left out since they were chosen often enough.
        known: Candidates that were left out since they match a known crystal.
    """

    indices: list[int]
    invalid: int = 0
    copies: int = 0
    known: int = 0

    def left_out(self) -> str:
        """Say how many were left out, and why."""
        reasons = {"invalid": self.invalid, "copies": self.copies, "known": self.known}
        return ", ".join(f"{n} {why}" for why, n in reasons.items() if n) or "none left out"


def select(
    candidates: Sequence[Crystal | BrokenEntry],
    count: int,
    predictor: PropertyPredictor | str | Path,
    target: float,
    *,
    copies: int = 1,
    known: Sequence[Crystal] | Database = (),
    progress: bool = False,
) -> list[int]:
    """Choose the valid candidates whose predicted property is nearest to a target.

    Validity is that of the harness: structure and, under SMACT, composition. Ties keep the order
    of the candidates.

    Args:
        candidates: Generated crystals; broken entries are never chosen.
        count: Number of crystals wanted.
        predictor: Property model, not the one that judges the result; or its file, or the name of
            one that comes with the package, such as ``perov5-predictor``.
        target: Wanted value.
        copies: How often one structure may be chosen (pymatgen's StructureMatcher decides what is
            one, as in :func:`pyg_crysdiff.evaluation.uniqueness.first_occurrences`); 0 for any
            number, which where few structures are near the target gives one of them again and
            again.
        known: Choose none that matches one of these, such as the training set or a database.
        progress: Show a progress bar.

    Returns:
        Indices of the chosen candidates, nearest first; fewer than ``count`` where there are not
        enough.

    Raises:
        FileNotFoundError: If there is no predictor of that name.
        ValueError: If count is not positive, copies negative or the target not finite.
    """
    return choose(
        candidates, count, predictor, target, copies=copies, known=known, progress=progress
    ).indices


def choose(
    candidates: Sequence[Crystal | BrokenEntry],
    count: int,
    predictor: PropertyPredictor | str | Path,
    target: float,
    *,
    copies: int = 1,
    known: Sequence[Crystal] | Database = (),
    progress: bool = False,
) -> Choice:
    """Choose as :func:`select` does, and count what was left out on the way.

    Arguments and errors are those of :func:`select`. Candidates behind the last chosen one are
    not looked at: where ``count`` were found, the counts are of those before it.
    """
    if count < 1:
        raise ValueError(f"the number of crystals to choose must be positive, got {count}")
    if copies < 0:
        raise ValueError(f"copies must not be negative, got {copies}")
    if not np.isfinite(target):
        raise ValueError(f"the target must be a finite number, got {target}")
    if isinstance(predictor, str | Path):
        predictor = load_evaluator(predictor)
    off = np.abs(predictor.predict(candidates, progress=progress) - target)
    order = [int(i) for i in np.argsort(off, kind="stable") if np.isfinite(off[i])]
    places = _Places(copies, _membership(known))
    chosen: list[int] = []
    left_out = Counter(invalid=len(candidates) - len(order))
    with bar(label="selecting", total=count, show=progress) as shown:
        for index in order:
            crystal = candidates[index]
            assert isinstance(crystal, Crystal)  # others have no prediction
            valid = smact_validity(crystal.atomic_numbers)
            reason = places.refused(index, crystal) if valid else "invalid"
            if reason:
                left_out[reason] += 1
                continue
            chosen.append(index)
            shown.update()
            if len(chosen) == count:
                break
    return Choice(chosen, **left_out)


class _Places:
    """Which structures may still be chosen.

    Args:
        copies: How often one may be chosen; 0 for any number.
        is_known: Tells whether a reduced cell matches a known crystal; None for no known ones.
    """

    def __init__(self, copies: int, is_known: Callable[[Key, Structure], bool] | None) -> None:
        self.copies, self.is_known = copies, is_known
        self._kept: dict[Key, list[tuple[Cell, list[int]]]] = defaultdict(list)

    def refused(self, index: int, crystal: Crystal) -> str:
        """Return the field of :class:`Choice` that counts a refused candidate; or nothing."""
        if not self.copies and self.is_known is None:
            return ""
        key, structure = matching_key(crystal)
        if key is None:
            return ""
        if self.is_known is not None and self.is_known(key, structure):
            return "known"
        if self.copies and not _takes(self._kept[key], Cell(structure), index, self.copies):
            return "copies"
        return ""


def _membership(
    known: Sequence[Crystal] | Database,
) -> Callable[[Key, Structure], bool] | None:
    """Return what tells whether a reduced cell matches a known crystal; None for no known ones."""
    if isinstance(known, Database):
        cells = KnownCells(known.path)
        return lambda key, structure: cells.match(key, structure) is not None
    if not known:
        return None
    old: dict[Key, list[Cell]] = defaultdict(list)
    for one in known:
        key, structure = matching_key(one)
        if key is not None:
            old[key].append(Cell(structure))
    compare = matcher()
    groups = {key: CellGroup(compare, cells) for key, cells in old.items()}
    return lambda key, structure: (
        key in groups and groups[key].nearest_match(Cell(structure)) is not None
    )


def _takes(kept: list[tuple[Cell, list[int]]], cell: Cell, index: int, copies: int) -> bool:
    """Count a cell with those that it matches; whether there is room for it."""
    same = CellGroup(matcher(), [other for other, _ in kept]).first_match(cell)
    if same is None:
        kept.append((cell, [index]))
        return True
    kept[same][1].append(index)
    return len(kept[same][1]) <= copies
