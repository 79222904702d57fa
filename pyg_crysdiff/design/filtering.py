"""Which drawn crystals are candidates, and why the others are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.uniqueness import kinds, known_matches
from pyg_crysdiff.evaluation.validity import structural_problem
from pyg_crysdiff.known.cells import STOL, PrimitiveCells
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.known.finding import find_known
from pyg_crysdiff.sampling import Control

Status = Literal["candidate", "invalid", "constraint", "known", "seen", "twice"]
Valid = Literal["structure", "cdvae"]
Known = Sequence[Crystal] | Database | None


@dataclass(frozen=True)
class Verdict:
    """What became of a drawn crystal.

    Attributes:
        status: ``candidate``, or the first reason against it: ``invalid``, ``constraint``,
            ``known`` (it matches a known crystal), ``seen`` (one of an earlier round that was
            evaluated or is under way), ``twice`` (one before it in this round).
        reason: The reason in words; empty for a candidate.
        match: Place of the crystal that it matches: among the known ones of a sequence, the seen
            ones, or those of this round. None where there is none, or a database has it.
    """

    status: Status
    reason: str = ""
    match: int | None = None

    @property
    def passed(self) -> bool:
        """Whether it is a candidate."""
        return self.status == "candidate"


class Filter:
    """Judges the crystals of every round; what it knows of known crystals is made once.

    Two crystals are the same if pymatgen's StructureMatcher says so, with the tolerances of
    :func:`pyg_crysdiff.evaluation.uniqueness.kinds`, within a composition alone.

    Args:
        known: Crystals, or a database, that no candidate may match; None for none.
        valid: What a candidate must be: ``structure`` (finite, no atoms on top of each other), or
            ``cdvae`` (the composition valid under SMACT as well).
        control: Constraints.
        known_within: Tolerance of the matcher for places (its ``stol``) where a crystal is compared
            with known ones. A larger one leaves out distorted copies of them too.
        num_workers: Processes; None for all cores.
        progress: Show progress bars.

    Raises:
        ValueError: If ``valid`` is neither of the two.
    """

    def __init__(
        self,
        known: Known = None,
        *,
        valid: Valid = "structure",
        control: Control | None = None,
        known_within: float = STOL,
        num_workers: int | None = None,
        progress: bool = False,
    ) -> None:
        if valid not in ("structure", "cdvae"):
            raise ValueError(f"valid must be 'structure' or 'cdvae', got {valid!r}")
        self.known, self.valid, self.control = known, valid, control
        self.known_within = known_within
        self.num_workers, self.progress = num_workers, progress
        self._known_cells = self._cells()
        self._seen_cells = self._cells()
        self._seen: dict[str, Crystal] = {}  # by digest: other rounds bring the same as new objects

    def _cells(self) -> PrimitiveCells:
        return PrimitiveCells(num_workers=self.num_workers, progress=self.progress)

    def judge(
        self, crystals: Sequence[Crystal | BrokenEntry], seen: Sequence[Crystal] = ()
    ) -> list[Verdict]:
        """Return the verdict on every crystal of a round.

        Args:
            crystals: As drawn.
            seen: Crystals of earlier rounds that were evaluated or are under way.
        """
        found: dict[int, Verdict] = {}
        left: list[tuple[int, Crystal]] = []
        for place, entry in enumerate(crystals):
            verdict = self._alone(entry)
            if verdict is None and isinstance(entry, Crystal):
                left.append((place, entry))
            else:
                assert verdict is not None
                found[place] = verdict
        cells = self._cells()  # of this round, shared by the comparisons
        before = [self._seen.setdefault(crystal.digest(), crystal) for crystal in seen]
        steps: list[Callable[[list[int], list[Crystal]], list[Verdict | None]]] = [
            lambda _, some: self._known(some, cells),
            lambda _, some: self._matches("seen", "evaluated before", some, before, cells),
            lambda places, some: self._twice(some, places, cells),
        ]
        for step in steps:
            verdicts = step([place for place, _ in left], [crystal for _, crystal in left])
            found |= {p: v for (p, _), v in zip(left, verdicts, strict=True) if v is not None}
            left = [one for one in left if one[0] not in found]
        return [found.get(place, Verdict("candidate")) for place in range(len(crystals))]

    def _alone(self, entry: Crystal | BrokenEntry) -> Verdict | None:
        """Judge a crystal by itself."""
        if (problem := structural_problem(entry)) is not None:
            return Verdict("invalid", problem)
        assert isinstance(entry, Crystal)
        if self.valid == "cdvae" and not smact_validity(entry.atomic_numbers):
            return Verdict("invalid", "the composition is not valid under SMACT")
        problem = None if self.control is None else self.control.problem(entry)
        return None if problem is None else Verdict("constraint", problem)

    def _known(self, some: Sequence[Crystal], cells: PrimitiveCells) -> list[Verdict | None]:
        if self.known is None:
            return [None] * len(some)
        if not isinstance(self.known, Database):
            return self._matches("known", "known", some, self.known, cells)
        rows = find_known(
            some, self.known, cells=cells, stol=self.known_within, num_workers=self.num_workers,
            progress=self.progress,
        )  # fmt: skip
        return [
            None if row is None else Verdict("known", f"known: {row.name or row.row}, {row.source}")
            for row in rows
        ]

    def _matches(
        self,
        status: Status,
        word: str,
        some: Sequence[Crystal],
        others: Sequence[Crystal],
        cells: PrimitiveCells,
    ) -> list[Verdict | None]:
        """Say which crystals match one of some others, whose cells are kept."""
        matched = known_matches(
            some, others, cells=cells,
            known_cells=self._known_cells if status == "known" else self._seen_cells,
            stol=self.known_within if status == "known" else STOL,
            num_workers=self.num_workers, progress=self.progress,
        )  # fmt: skip
        return [
            None if place is None else Verdict(status, f"{word}: {_name(others[place])}", place)
            for place in matched
        ]

    def _twice(
        self, some: Sequence[Crystal], places: Sequence[int], cells: PrimitiveCells
    ) -> list[Verdict | None]:
        """Say which crystals match one before them; one with a formula of its own matches none."""
        formulas = [reduced_formula(crystal) for crystal in some]
        often = Counter(formulas)
        rows = [i for i, formula in enumerate(formulas) if often[formula] > 1]
        first = kinds(
            [some[i] for i in rows], cells=cells, num_workers=self.num_workers,
            progress=self.progress,
        )  # fmt: skip
        out: list[Verdict | None] = [None] * len(some)
        for i, kind in zip(rows, first, strict=True):
            if (earlier := rows[kind]) != i:
                place = places[earlier]
                out[i] = Verdict("twice", f"the same as number {place} of this round", place)
        return out


def _name(crystal: Crystal) -> str:
    """Return the identifier of a crystal, or its formula."""
    return str(crystal.info.get("material_id") or reduced_formula(crystal))
