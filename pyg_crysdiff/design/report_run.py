"""What a report is made of: the ledger's tables, and which hits are different crystals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.names import unit_of
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.evaluation.uniqueness import kinds

if TYPE_CHECKING:
    import pandas as pd

    from pyg_crysdiff.design.ledger import Ledger

_POTENTIALS = ("chgnet", "sevennet")  # oracles whose numbers have these units
_UNITS = {"energy_per_atom": "eV/atom", "e_above_hull": "eV/atom"}


@dataclass(frozen=True)
class Run:
    """A design run as its report needs it.

    Attributes:
        facts: Settings of the run.
        objectives: What is wanted.
        rounds: One mapping for each round, as :meth:`Ledger.rounds` gives them.
        evaluations: A line for each answer, in the order of answering.
        distinct: Of each line, whether it is a hit that matches no hit before it.
        chosen: Key to crystal as it was drawn, of all chosen.
        final: Key to crystal as it was evaluated: relaxed where the oracle relaxes.
        round_of: Key to round, of all chosen.
        waiting: Keys of evaluations that are under way.
        reasons: Round to status to number of drawn crystals.
    """

    facts: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    rounds: list[dict[str, Any]]
    evaluations: pd.DataFrame
    distinct: NDArray[np.bool_]
    chosen: dict[str, Crystal]
    final: dict[str, Crystal]
    round_of: dict[str, int]
    waiting: list[str]
    reasons: dict[int, dict[str, int]]

    @classmethod
    def read(cls, ledger: Ledger) -> Run:
        """Read all that a report shows."""
        table = ledger.evaluations()
        candidates = ledger.candidates()
        drawn = ledger.crystals(None)
        final = {**drawn, **ledger.relaxed(None)}
        asked = candidates[candidates["key"].notna()]
        counts = candidates.groupby(["round", "status"]).size()
        reasons: dict[int, dict[str, int]] = {}
        for (number, status), count in counts.items():
            reasons.setdefault(int(number), {})[str(status)] = int(count)
        return cls(
            facts=ledger.facts,
            objectives=tuple(ledger.objectives),
            rounds=ledger.rounds(),
            evaluations=table,
            distinct=_distinct(table, final),
            chosen=drawn,
            final=final,
            round_of={
                str(key): int(number)
                for key, number in zip(asked["key"], asked["round"], strict=True)
            },
            waiting=list(ledger.waiting()),
            reasons=reasons,
        )

    @property
    def about(self) -> Mapping[str, Any]:
        """What the user wrote: names of checkpoint and data, the command, versions."""
        told = self.facts.get("about")
        return told if isinstance(told, Mapping) else {}

    @property
    def data_shares(self) -> dict[str, float] | None:
        """Share of the labelled crystals that hold an element, where a round says so.

        The ledger has it as ``data_shares`` of a round, by atomic number.
        """
        for one in self.rounds:
            if shares := one.get("data_shares"):
                return {chemical_symbols[int(z)]: float(share) for z, share in shares.items()}
        return None

    @property
    def hits(self) -> pd.DataFrame:
        """The different hits, the best first where an objective has a direction."""
        found = self.evaluations[self.distinct]
        for objective in self.objectives:
            if objective.direction:
                return found.sort_values(
                    objective.name, ascending=objective.direction < 0, kind="stable"
                )
        return found

    @property
    def nearest(self) -> pd.DataFrame:
        """All that was evaluated, those first that miss the bounds by least.

        The distances to the bounds are divided by the spread of the values and added up.
        """
        done = self.evaluations[self.evaluations["problem"] == ""]
        off = np.zeros(len(done))
        for objective in self.objectives:
            short = objective.shortfall(self.values(objective.name)[done.index])
            spread = float(np.nanstd(short)) if np.isfinite(short).any() else 0.0
            off += np.where(np.isnan(short), np.inf, short) / (spread or 1.0)
        return done.iloc[np.argsort(off, kind="stable")]

    def by_round(self) -> dict[int, list[Crystal]]:
        """Return the crystals that were chosen in each round, as they were drawn."""
        out: dict[int, list[Crystal]] = {}
        for key, number in self.round_of.items():
            out.setdefault(number, []).append(self.chosen[key])
        return dict(sorted(out.items()))

    def values(self, column: str) -> NDArray[np.float64]:
        """Return a column of numbers in the order of answering; NaN where there is none."""
        if column not in self.evaluations:
            return np.full(len(self.evaluations), np.nan)
        return self.evaluations[column].to_numpy(dtype=np.float64)

    def counting(self, objective: Objective) -> NDArray[np.float64]:
        """Return the values of an objective where all others are met, and NaN elsewhere."""
        met = (self.evaluations["problem"] == "").to_numpy(dtype=bool)
        for other in self.objectives:
            if other.name != objective.name:
                met &= other.met(self.values(other.name))
        return np.where(met, self.values(objective.name), np.nan)

    def unit(self, name: str) -> str:
        """Return the unit of a number; empty where it is not known."""
        known = unit_of(str(self.about.get("data", "")), name)
        by_potential = any(word in str(self.facts.get("oracle", "")) for word in _POTENTIALS)
        return known or (_UNITS.get(name, "") if by_potential else "")

    def labels(self) -> list[str]:
        """Return key and formula of each evaluation."""
        pairs = zip(self.evaluations["key"], self.evaluations["formula"], strict=True)
        return [f"{key} {formula}" for key, formula in pairs]


def _distinct(table: pd.DataFrame, final: Mapping[str, Crystal]) -> NDArray[np.bool_]:
    """Mark the hits that match none before them; two may have relaxed to one crystal."""
    marked = table["hit"].to_numpy(dtype=bool).copy()
    places = np.flatnonzero(marked)
    found = kinds([final[key] for key in table["key"].iloc[places]], num_workers=1)
    marked[places] = found == np.arange(len(places))
    return marked
