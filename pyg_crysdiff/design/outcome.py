"""What a design run leaves for people: the crystals found as files, the report, its state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyg_crysdiff.data.writers import crystal_to_cif, write_extxyz
from pyg_crysdiff.design.evidence import evaluated
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.storage import write_text


def write_outcome(ledger: Ledger, *, report: bool = True) -> None:
    """Write the hits, and if so wished the report, into the folder of a run.

    ``hits.csv`` has a line for each hit, in the order in which they were found; ``hits.extxyz``
    and ``hits/KEY.cif`` have the crystals, relaxed where the oracle relaxes.
    """
    folder, table = ledger.folder, ledger.evaluations()
    table = table[table["hit"]]
    names = [objective.name for objective in ledger.objectives]
    crystals = {c.info["key"]: c for c in evaluated(ledger, names, relaxed=True)[0]}
    for key in table["key"]:
        if not (path := folder / "hits" / f"{key}.cif").exists():
            write_text(path, crystal_to_cif(crystals[key]))
    write_extxyz([crystals[key] for key in table["key"]], folder / "hits.extxyz")
    write_text(
        folder / "hits.csv",
        table.drop(columns=["hit", "problem", "relaxed_to"]).to_csv(index=False),
    )
    if report:
        from pyg_crysdiff.design.report import write_report  # noqa: PLC0415  (imports plotly)

        write_report(folder)


def status_lines(ledger: Ledger) -> Iterator[str]:
    """Say how far a run is, a line for each round and one for the whole."""
    facts, table, waiting = ledger.facts, ledger.evaluations(), len(ledger.waiting())
    wanted = ", ".join(str(objective) for objective in ledger.objectives)
    yield f"{ledger.folder}: {wanted}, begun {facts['created']}"
    for one in ledger.rounds():
        yield _round_line(one, table[table["round"] == one["round"]])
    line = f"{table['hit'].sum()} hits of {len(table)} evaluations, budget {facts['budget']}"
    if failed := int((table["problem"] != "").sum()):
        line += f"; {failed} failed"
    if waiting:
        line += f"; {waiting} results are awaited"
    yield line


def _round_line(one: dict[str, Any], table: Any) -> str:
    line = (
        f"round {one['round']} ({one['state']}): {one['drawn']:,} drawn, {one['candidates']:,} new "
        f"and valid, {one['chosen']:,} chosen, {len(table)} evaluated, {table['hit'].sum()} hits"
    )
    learning = one.get("learning")
    if learning is None:
        return line
    return f"{line}; new generator" if learning["accepted"] else f"{line}; generator as before"
