"""The ledger of a design run: every candidate, evaluation and round, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.design.ledger_schema import (
    LEDGER,
    close_for_good,
    open_for_writing,
    reading,
    transaction,
)
from pyg_crysdiff.design.ledger_tables import (
    CHOSEN,
    Predicted,
    candidate_rows,
    evaluation_table,
    table_of,
)
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.plain import (
    crystal_text,
    plain,
    read_crystal,
    read_objective_facts,
    to_text,
)
from pyg_crysdiff.storage import differences, in_words, only_writer, user_path

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from pyg_crysdiff.design.filtering import Verdict

_FREE = ("budget", "about")  # may change from one start to the next
_STATUS = (
    "CASE WHEN answers.key IS NULL THEN status WHEN problem = '' THEN 'answered' "
    "ELSE 'failed' END AS status"
)
_ANSWERED = "candidates LEFT JOIN answers ON answers.key = candidates.key"


class Ledger:
    """What a design run knows, kept as it comes.

    With ``settings`` it is the one writer of its folder until :meth:`close`, best as a context
    manager. Without, it opens the file for each question and holds nothing, so that it can be read
    while a run is on.

    Args:
        folder: Folder of the run; the file is ``ledger.sqlite`` in it.
        settings: What decides the run, as JSON can hold it; ``objectives`` are those of
            :func:`pyg_crysdiff.design.plain.objective_facts`. The ``budget`` may change. None to
            read alone.

    Raises:
        FileNotFoundError: If there is no run to read.
        ValueError: If the folder holds a run with other settings (the message names them), another
            process writes there, or the file is damaged or of a newer version.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any] | None = None) -> None:
        self.folder = Path(user_path(folder))
        self.path = self.folder / LEDGER
        self._open: sqlite3.Connection | None = None
        self._held = ExitStack()
        if settings is None:
            with reading(self.path):
                return
        self._held.enter_context(only_writer(self.folder))
        try:
            self._open = open_for_writing(self.path)
            self._held.callback(close_for_good, self._open)
            self._settle(plain(settings))
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"Ledger({str(self.folder)!r})"

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the right to write; what was opened for reading alone needs no closing."""
        self._open = None
        self._held.close()

    def _settle(self, settings: dict[str, Any]) -> None:
        """Write the settings down, or compare them with those that the file holds."""
        before = self.facts if self._query("SELECT 1 FROM facts LIMIT 1") else {}
        fixed = {name: value for name, value in settings.items() if name not in _FREE}
        now = {"created": datetime.now(UTC).isoformat(timespec="seconds"), **before, **settings}
        if before:
            was = {name: before.get(name) for name in before if name not in (*_FREE, "created")}
            if other := differences(was, fixed):
                raise ValueError(
                    f"{self.folder} holds a design run with other settings (different: "
                    f"{in_words(other)}); choose another output folder or delete this one"
                )
        with self._writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)",
                [(name, to_text(value)) for name, value in now.items()],
            )

    @property
    def facts(self) -> dict[str, Any]:
        """The settings, and when the run was ``created``."""
        return {name: json.loads(text) for name, text in self._query("SELECT * FROM facts")}

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is wanted."""
        return read_objective_facts(self.facts["objectives"])

    # Writing

    def add_round(
        self,
        number: int,
        facts: Mapping[str, Any],
        crystals: Sequence[Crystal],
        verdicts: Sequence[Verdict],
        scores: NDArray[np.float64],
        predicted: Predicted,
        chosen: Mapping[int, int],
    ) -> None:
        """Add a round with all its candidates, whole or not at all.

        Args:
            number: Of the round, from 1.
            facts: Whatever is to be known of it.
            crystals: All that were drawn, M of them; ``info["request"]`` is the number of the
                request of each.
            verdicts: What became of each in the filter.
            scores: Of the acquisition, shape (M,); NaN for those that have none.
            predicted: Name to means and standard deviations, each of shape (M,).
            chosen: Place among the crystals to rank, from 1.
        """
        rows = candidate_rows(
            number, crystals, verdicts, scores, predicted, chosen, first=self.asked + 1
        )
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO rounds VALUES (?, 'evaluating', ?)", (number, to_text(facts))
            )
            connection.executemany(
                "INSERT INTO candidates VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

    def add_answer(self, key: str, answer: Answer) -> None:
        """Add what an evaluation brought; one of a key that has an answer changes nothing."""
        relaxed = answer.crystal
        row = (
            key, answer.problem, to_text(answer.values),
            None if relaxed is None or not relaxed.is_finite else crystal_text(relaxed),
            to_text(answer.facts), datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO answers VALUES (NULL, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row
            )

    def close_round(self, number: int, facts: Mapping[str, Any]) -> None:
        """Say that a round is over, and add to its facts."""
        (text,) = self._query("SELECT facts FROM rounds WHERE number = ?", number)[0]
        merged = {**json.loads(text), **facts}
        with self._writing() as connection:
            connection.execute(
                "UPDATE rounds SET state = 'closed', facts = ? WHERE number = ?",
                (to_text(merged), number),
            )

    # Reading

    @property
    def asked(self) -> int:
        """Evaluations that were asked for, those under way too."""
        return int(self._query("SELECT COUNT(key) FROM candidates")[0][0])

    def rounds(self) -> list[dict[str, Any]]:
        """Return the rounds in order: ``round``, ``state``, ``counts`` by status, and their facts.

        The state is ``evaluating`` (results are awaited), ``evaluated`` or ``closed``.
        """
        counts: dict[int, Counter[str]] = {}
        query = f"SELECT round, {_STATUS}, COUNT(*) FROM {_ANSWERED} GROUP BY 1, 2"
        for number, status, count in self._query(query):
            counts.setdefault(number, Counter())[status] = count
        found = []
        for number, state, facts in self._query("SELECT * FROM rounds ORDER BY number"):
            by_status = counts.get(number, Counter())
            is_open = state == "evaluating" and not by_status[CHOSEN]
            shown = "evaluated" if is_open else state
            head = {"round": number, "state": shown, "counts": dict(+by_status)}
            found.append({**json.loads(facts), **head})
        return found

    def waiting(self) -> dict[str, Crystal]:
        """Return the chosen crystals that have no answer yet, by key, in the order of choice."""
        query = (
            f"SELECT candidates.key, candidates.crystal FROM {_ANSWERED} "
            "WHERE candidates.key IS NOT NULL AND answers.key IS NULL ORDER BY candidates.key"
        )
        return {key: read_crystal(text) for key, text in self._query(query)}

    def crystals(self, keys: Iterable[str] | None = None) -> dict[str, Crystal]:
        """Return chosen crystals as they were drawn, by key; None for all."""
        return self._crystals("candidates", keys)

    def left(self) -> list[Crystal]:
        """Return the candidates that were not chosen, of all rounds; equal ones once."""
        query = "SELECT crystal FROM candidates WHERE status = 'left' GROUP BY digest ORDER BY id"
        return [read_crystal(text) for (text,) in self._query(query)]

    def relaxed(self, keys: Iterable[str] | None = None) -> dict[str, Crystal]:
        """Return the relaxed crystals, by key, of those that the oracle relaxed; None for all."""
        return self._crystals("answers", keys)

    def _crystals(self, table: str, keys: Iterable[str] | None) -> dict[str, Crystal]:
        wanted = None if keys is None else set(keys)
        query = (
            f"SELECT key, crystal FROM {table} WHERE key IS NOT NULL AND crystal IS NOT NULL "
            "ORDER BY key"
        )
        rows = self._query(query)
        return {k: read_crystal(text) for k, text in rows if wanted is None or k in wanted}

    def answer_facts(self, keys: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return where the numbers of answers come from, by key; None for all."""
        wanted = None if keys is None else set(keys)
        rows = self._query("SELECT key, facts FROM answers ORDER BY key")
        return {k: json.loads(text) for k, text in rows if wanted is None or k in wanted}

    def candidates(self) -> pd.DataFrame:
        """Return a line for every crystal that was drawn.

        Columns: ``id``, ``key`` (of the chosen), ``round``, ``place``, ``status`` (invalid,
        constraint, known, seen, twice, left, chosen, answered, failed), ``reason``, ``formula``,
        ``score``, ``request``, ``rank``.
        """
        names = ["id", "key", "round", "place", "reason", "formula", "score", "request", "rank"]
        columns = ", ".join(f"candidates.{name}" for name in names)
        query = f"SELECT {columns}, {_STATUS} FROM {_ANSWERED} ORDER BY candidates.id"
        return table_of(self._query(query), [*names, "status"])

    def evaluations(self) -> pd.DataFrame:
        """Return a line for every answer, in the order in which they came.

        Columns: ``key``, ``round``, ``order`` (from 1), ``formula``, ``problem``, ``seconds``,
        ``hit``, ``relaxed_to`` (``known``, ``seen`` or ``twice`` where the relaxed crystal is not
        new), one for each number by its name, and what was predicted before: ``predicted_NAME``,
        ``std_NAME``. What is missing is NaN.
        """
        query = (
            "SELECT answers.key, round, formula, problem, numbers, facts, predicted FROM answers "
            "JOIN candidates ON candidates.key = answers.key ORDER BY answers.number"
        )
        became: dict[str, str] = {}
        for (text,) in self._query("SELECT facts FROM rounds ORDER BY number"):
            became |= json.loads(text).get("relaxed_to", {})
        return evaluation_table(self.objectives, self._query(query), became)

    def models(self) -> list[dict[str, Any]]:
        """Return the models of every round: what drew, what predicted, what was learned."""
        names = ("round", "generator", "predictor", "learning")
        return [{name: one.get(name) for name in names} for one in self.rounds()]

    # Connections

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if self._open is not None:
            yield self._open
            return
        with reading(self.path) as connection:
            yield connection

    def _query(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self._open is None:
            raise ValueError(f"{self.path} was opened for reading alone")
        with transaction(self._open, self.path):
            yield self._open
