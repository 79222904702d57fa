"""Evaluations on disk, so that samples once scored are not scored again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from io import BytesIO
from itertools import chain
from pathlib import Path

import pandas as pd

import pyg_crysdiff
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.evaluation.genbench.rows import settings_facts
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol, evaluate
from pyg_crysdiff.evaluation.predictor import identity_of
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.evaluation.table import entry_name
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.storage import (
    digest_of,
    facts_digest,
    file_name,
    kept,
    read_keyed,
    write_json,
    write_text,
)

Entries = Sequence[Crystal | BrokenEntry]
_METRICS = 6  # counts up when the metrics of the same samples become others


def save_evaluation(stem: Path, found: Evaluation, entries: Entries, protocol: Protocol) -> None:
    """Write ``stem.csv`` (one row per entry) and ``stem.json`` (metrics, definitions).

    Where crystals were relaxed there are ``stem-relaxed.extxyz`` (of several judges
    ``stem-relaxed-JUDGE.extxyz``) with the relaxed crystals in the order of the entries, each with
    its ``entry`` in the file, and ``stem-by_size.csv``.
    """
    for file, crystals in _relaxed_files(stem, found).items():
        write_extxyz(crystals, file)
    if found.facts:
        from pyg_crysdiff.evaluation.sun import by_size  # noqa: PLC0415

        sizes = by_size(found.table, protocol).to_csv(index=False)
        write_text(stem.with_name(f"{stem.name}-by_size.csv"), sizes)
    text = found.table.to_csv(index=False)
    write_text(_table(stem), text)
    content = {
        "key": _key(entries, protocol),
        "table": digest_of([text]),
        "metrics": {name: asdict(estimate) for name, estimate in found.metrics.items()},
        "definitions": found.definitions,
        "facts": found.facts,
    }
    write_json(_record(stem), content)


def _read(stem: Path, key: str) -> Evaluation:
    """Read the two files of an evaluation; raises where one is damaged or of something else."""
    content, text = read_keyed(_record(stem), key), _table(stem).read_bytes()
    if content["table"] != digest_of([text]):
        raise ValueError(f"{_table(stem)} is not the table of this evaluation")
    metrics = {name: Estimate(**values) for name, values in content["metrics"].items()}
    texts = ["name", "formula", "reason", "known_part", "known_id", "database_id"]
    # An identifier may look like a number, and a formula like a missing one (NaN).
    kinds = dict.fromkeys(("name", "known_id", "database_id"), str)
    rows = pd.read_csv(BytesIO(text), keep_default_na=False, na_values=[""], dtype=kinds)
    problems = [name for name in rows if name.startswith("relax_problem")]
    rows = rows.astype(dict.fromkeys(problems, object))  # a column without a problem is all NaN
    table = rows.fillna(dict.fromkeys([*texts, *problems], ""))
    return Evaluation(metrics, dict(content["definitions"]), table, dict(content["facts"]))


def _relaxed_files(stem: Path, found: Evaluation) -> dict[Path, list[Crystal]]:
    """Return the files of relaxed crystals beside an evaluation, and what belongs into them."""
    out: dict[Path, list[Crystal]] = {}
    for judge, crystals in found.relaxed.items():
        end = f"-{file_name(judge)}" if len(found.relaxed) > 1 else ""
        chosen = [
            replace(c, info={**c.info, **_values(found.table, i, judge, len(found.relaxed))})
            for i, c in enumerate(crystals)
            if c is not None
        ]
        out[stem.with_name(f"{stem.name}-relaxed{end}.extxyz")] = chosen
    return out


def _values(table: pd.DataFrame, index: int, judge: str, judges: int) -> dict[str, float | int]:
    """Return what stands beside a relaxed crystal: its entry, its energies."""
    names = ("relaxed_energy", "e_above_hull", "relax_rms")
    at = f"@{judge}" if judges > 1 else ""
    found = {n: float(table.at[index, n + at]) for n in names if n + at in table}
    return {"entry": index, **{n: x for n, x in found.items() if math.isfinite(x)}}


def _record(stem: Path) -> Path:
    return stem.with_name(stem.name + ".json")


def _table(stem: Path) -> Path:
    return stem.with_name(stem.name + ".csv")


def scored(
    stem: Path, entries: Entries, protocol: Protocol, before: Callable[[], None] = lambda: None
) -> Evaluation:
    """Return what was kept of these entries, or score and keep them.

    Args:
        stem: Path of the files without their endings ``.csv`` and ``.json``.
        entries: Crystals and broken entries.
        protocol: What to measure against.
        before: Called where they have to be scored.
    """
    key, evaluator = _key(entries, protocol), protocol.evaluator

    def read(_: Path) -> Evaluation:
        if evaluator is not None and identity_of(evaluator) is None:
            raise LookupError("nobody knows whether it is the same evaluator")
        return _read(stem, key)

    def make() -> Evaluation:
        before()
        return evaluate(entries, protocol)

    return kept(
        _record(stem),
        read,
        make,
        lambda _, found: save_evaluation(stem, found, entries, protocol),
    )


def _key(entries: Entries, protocol: Protocol) -> str:
    """Digest of everything that decides an evaluation."""
    evaluator, stability = protocol.evaluator, protocol.stability
    facts = {
        "version": pyg_crysdiff.__version__,
        "metrics": _METRICS,
        "task": protocol.task,
        "target": protocol.target,
        "thresholds": protocol.success_thresholds(),
        "cutoffs": {name: list(pair) for name, pair in protocol.cutoffs.items()},
        "num_starts": protocol.num_starts,
        "stability": stability and stability.identity(),
        "interval": protocol.interval,
        "uniqueness": protocol.uniqueness,
        "uniqueness_of": protocol.uniqueness_of,
        "novelty_of": protocol.novelty_of,
        "space_groups": protocol.space_groups,
        "seed": protocol.seed,
        "num_bootstrap": protocol.num_bootstrap,
        "evaluator": None if evaluator is None else identity_of(evaluator),
    }
    if protocol.database is not None:
        facts["database"] = Database(protocol.database).digest()
    if protocol.prototypes:
        facts["prototypes"] = True
    if protocol.genbench is not None:
        facts["genbench"] = settings_facts(protocol.genbench)
    if protocol.validity != "cdvae":
        facts["validity"] = protocol.validity
    facts["names"] = digest_of(map(entry_name, entries))
    contents = _contents(entries, protocol.reference, protocol.train)
    if protocol.lookup:
        facts["lookup"] = [protocol.lookup_name(), *protocol.lookup]
        contents = chain(contents, _known_contents(protocol))
    return facts_digest(facts, contents)


def _known_contents(protocol: Protocol) -> Iterator[str]:
    """Say what a look-up would find: the known crystals of every part and their values."""
    name = str(protocol.lookup_name())
    for crystals in protocol.lookup.values():
        yield "#"
        for crystal in crystals:
            yield f"{crystal.digest()}{crystal.info.get(name)}{crystal.info.get('material_id')}|"


def _contents(*groups: Entries) -> Iterator[str]:
    for group in groups:
        yield "#"
        for entry in group:
            yield (entry.digest() if isinstance(entry, Crystal) else entry.reason) + "|"
