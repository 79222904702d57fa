"""The second half of a round: the oracle is asked, and answers are kept as they come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer, Oracle
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.oracles.combined import title_of
from pyg_crysdiff.design.watch import Watch
from pyg_crysdiff.progress import bar

if TYPE_CHECKING:
    import pandas as pd

    from pyg_crysdiff.design.filtering import Verdict

Say = Callable[[str], None]
Judge = Callable[[Sequence[Crystal], Sequence[Crystal]], "list[Verdict]"]


def evaluate(
    ledger: Ledger,
    oracle: Oracle,
    wait: float | None,
    say: Say,
    *,
    progress: bool = False,
    watch: Watch | None = None,
) -> bool:
    """Ask an oracle for all chosen crystals that have no answer yet.

    Args:
        ledger: Holds them, and takes the answers.
        oracle: Who is asked.
        wait: Seconds between two looks at what is under way; None to leave off.
        say: Is told what is awaited, whenever that has changed.
        progress: Show a progress bar.
        watch: Counts the seconds that the oracle takes, as ``evaluate``.

    Returns:
        Whether all is answered.

    Raises:
        ValueError: If the oracle answers what it was not asked for.
    """
    told = None
    while waiting := ledger.waiting():
        with (watch or Watch())("evaluate"):
            _ask(ledger, oracle, waiting, progress)
        left = len(ledger.waiting())
        if not left:
            break
        batch = ledger.rounds()[-1]["chosen"]
        line = f"{left} of {batch} results are awaited from {title_of(oracle)}"
        if wait is None:
            say(f"{line}; the same command goes on")
            return False
        if left != told:
            say(f"{line}; looking again every {wait:g} s")
            told = left
        time.sleep(wait)
    return True


def _ask(ledger: Ledger, oracle: Oracle, waiting: Mapping[str, Crystal], progress: bool) -> None:
    """Ask once, and keep every answer as it comes."""
    with bar(label="evaluating", total=len(waiting), show=progress) as shown:
        for key, answer in oracle.ask(waiting):
            if key not in waiting:
                raise ValueError(f"the oracle answers {key!r}, for which it was not asked")
            ledger.add_answer(key, _sound(answer))
            shown.update()


def _sound(answer: Answer) -> Answer:
    """Return an answer whose values are numbers; one without any is a failed evaluation."""
    if answer.problem:
        return answer
    values: dict[str, float] = {}
    for name, value in answer.values.items():
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            return Answer.failed(f"{name} is no number: {value!r:.80}", **answer.facts)
    if not any(map(math.isfinite, values.values())):
        return Answer.failed("no number came of it", **answer.facts)
    return replace(answer, values=values)


def close_last(
    ledger: Ledger, say: Say, judge: Judge, seconds: Mapping[str, float] | None = None
) -> dict[str, Any] | None:
    """Close the last round, all of whose answers are there, and return what is known of it.

    What relaxed to a known crystal, or to one that was found before, is no hit.

    Args:
        ledger: Holds it.
        say: Is told what the round has brought.
        judge: Tells of relaxed crystals, given those that were found before, what is not new.
        seconds: Of parts of the round, to be added to those that the ledger holds.
    """
    rounds = ledger.rounds()
    if not rounds:
        return None
    last = rounds[-1]
    if last["state"] == "closed":
        return last
    table = ledger.evaluations()
    mine = table["round"] == last["round"]
    became = _no_longer_new(ledger, table[table["hit"] & mine], table[table["hit"] & ~mine], judge)
    table["hit"] &= ~table["key"].isin(became)
    mine = table[mine]
    facts = {"hits": int(mine["hit"].sum()), "relaxed_to": became}
    ledger.close_round(
        last["round"], {**facts, "seconds": {**last.get("seconds", {}), **(seconds or {})}}
    )
    if became:
        say(f"round {last['round']}: {len(became)} relaxed to crystals that are not new")
    if len(mine):
        failed = int((mine["problem"] != "").sum())
        say(
            f"round {last['round']}: {len(mine)} evaluated{f' ({failed} failed)' if failed else ''}"
            f", {mine['hit'].sum()} hits; {table['hit'].sum()} hits of {len(table)} evaluations "
            "so far"
        )
    return last


def _no_longer_new(
    ledger: Ledger, hits: pd.DataFrame, before: pd.DataFrame, judge: Judge
) -> dict[str, str]:
    """Return key and verdict of hits whose relaxed crystal is known or was found before."""
    relaxed = ledger.relaxed(hits["key"])
    if not relaxed:
        return {}
    seen = list(ledger.relaxed(before["key"]).values())
    verdicts = judge(list(relaxed.values()), seen)
    return {
        key: verdict.status
        for key, verdict in zip(relaxed, verdicts, strict=True)
        if verdict.status in ("known", "seen", "twice")
    }
