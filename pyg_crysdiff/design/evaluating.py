"""The second half of a round: the oracle is asked, and answers are kept as they come."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer, Oracle
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.oracles.combined import title_of
from pyg_crysdiff.design.watch import Watch
from pyg_crysdiff.progress import bar

Say = Callable[[str], None]


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
    ledger: Ledger, say: Say, seconds: Mapping[str, float] | None = None
) -> dict[str, Any] | None:
    """Close the last round, all of whose answers are there, and return what is known of it.

    Args:
        ledger: Holds it.
        say: Is told what the round has brought.
        seconds: Of parts of the round, to be added to those that the ledger holds.
    """
    rounds = ledger.rounds()
    if not rounds:
        return None
    last = rounds[-1]
    if last["state"] == "closed":
        return last
    table = ledger.evaluations()
    mine = table[table["round"] == last["round"]]
    ledger.close_round(
        last["round"],
        {"hits": int(mine["hit"].sum()), "seconds": {**last.get("seconds", {}), **(seconds or {})}},
    )
    if len(mine):
        failed = int((mine["problem"] != "").sum())
        say(
            f"round {last['round']}: {len(mine)} evaluated{f' ({failed} failed)' if failed else ''}"
            f", {mine['hit'].sum()} hits; {table['hit'].sum()} hits of {len(table)} evaluations "
            "so far"
        )
    return last
