"""Rows that go into a ledger, and tables of what it holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formulas import reduced_formula
from pyg_crysdiff.design.objectives import Objective, hits
from pyg_crysdiff.design.plain import crystal_text, to_text

if TYPE_CHECKING:
    import pandas as pd

    from pyg_crysdiff.design.filtering import Verdict

CANDIDATE, LEFT, CHOSEN = "candidate", "left", "chosen"
Predicted = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
Row = tuple[Any, ...]
# Columns of every table of evaluations, which no number can be called.
COLUMNS = ("key", "round", "order", "formula", "problem", "seconds", "hit", "relaxed_to")


def candidate_rows(
    number: int,
    crystals: Sequence[Crystal],
    verdicts: Sequence[Verdict],
    scores: NDArray[np.float64],
    predicted: Predicted,
    chosen: Mapping[int, int],
    *,
    first: int,
) -> list[Row]:
    """Return the rows of a round's candidates, without their id.

    Arguments are those of :meth:`pyg_crysdiff.design.ledger.Ledger.add_round`; ``first`` is the
    number of the first evaluation of the round.
    """
    rows = []
    for place, (crystal, verdict) in enumerate(zip(crystals, verdicts, strict=True)):
        is_candidate, rank = verdict.status == CANDIDATE, chosen.get(place)
        status = verdict.status if not is_candidate else LEFT if rank is None else CHOSEN
        numbers = {name: [mean[place], std[place]] for name, (mean, std) in predicted.items()}
        score = float(scores[place])
        rows.append((
            number, place, status, verdict.reason, _formula(crystal), crystal.digest(),
            crystal.info.get("request"), score if math.isfinite(score) else None,
            to_text(numbers if is_candidate else {}),
            crystal_text(crystal) if is_candidate else None,
            rank, None if rank is None else f"{first + rank - 1:05d}",
        ))  # fmt: skip
    return rows


def _formula(crystal: Crystal) -> str:
    try:
        return reduced_formula(crystal)
    except (ValueError, KeyError):  # what is no element has no formula
        return ""


def table_of(rows: Sequence[Row], names: Sequence[str]) -> pd.DataFrame:
    """Return rows of a query as a table with these columns."""
    import pandas as pd  # noqa: PLC0415  (takes a second)

    return pd.DataFrame.from_records(rows, columns=list(names))


def evaluation_table(
    objectives: Sequence[Objective], rows: Sequence[Row], relaxed_to: Mapping[str, str]
) -> pd.DataFrame:
    """Return a line for every answer.

    Args:
        objectives: They decide what is a hit, and have a column each.
        rows: Key, round, formula, problem, and as JSON: numbers, facts, and what was predicted.
        relaxed_to: Key to what a crystal became that is not new any more: ``known``, ``seen`` or
            ``twice``. It is no hit.
    """
    table = table_of([row[:4] for row in rows], ["key", "round", "formula", "problem"])
    values, facts, predicted = ([json.loads(row[k]) for row in rows] for k in (4, 5, 6))
    table.insert(2, "order", np.arange(1, len(rows) + 1))
    table["seconds"] = np.array([_number(one.get("seconds")) for one in facts], dtype=np.float64)
    asked = [objective.name for objective in objectives]
    columns = {
        name: np.array([_number(one.get(name)) for one in values], dtype=np.float64)
        for name in dict.fromkeys([*asked, *(name for one in values for name in one)])
        if name not in COLUMNS
    }
    # No number of a failed evaluation counts, whatever an oracle puts beside the problem.
    table["relaxed_to"] = [relaxed_to.get(key, "") for key in table["key"]]
    good = (table["problem"] == "") & (table["relaxed_to"] == "")
    table["hit"] = hits(objectives, columns) & good.to_numpy(dtype=bool)
    for name in dict.fromkeys(name for one in predicted for name in one):
        pairs = [one.get(name, (None, None)) for one in predicted]
        for k, column in enumerate((f"predicted_{name}", f"std_{name}")):
            columns[column] = np.array([_number(pair[k]) for pair in pairs], dtype=np.float64)
    for name, column_values in columns.items():
        table[name] = column_values
    return table


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
