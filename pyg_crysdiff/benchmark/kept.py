"""Evaluations on disk, so that samples once scored are not scored again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

import pyg_crysdiff
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol, evaluate
from pyg_crysdiff.evaluation.results import Estimate

Entries = Sequence[Crystal | BrokenEntry]


def save_evaluation(stem: Path, found: Evaluation, entries: Entries, protocol: Protocol) -> None:
    """Write ``stem.csv`` (one row per entry) and ``stem.json`` (metrics, definitions)."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    found.table.to_csv(stem.with_name(stem.name + ".csv"), index=False)
    content = {
        "key": _key(entries, protocol),
        "metrics": {name: asdict(estimate) for name, estimate in found.metrics.items()},
        "definitions": found.definitions,
    }
    path = stem.with_name(stem.name + ".json")
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def load_evaluation(stem: Path, entries: Entries, protocol: Protocol) -> Evaluation | None:
    """Return what was kept of these entries under this protocol, or None."""
    path, table = stem.with_name(stem.name + ".json"), stem.with_name(stem.name + ".csv")
    if not (path.is_file() and table.is_file()):
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["key"] != _key(entries, protocol):
        return None
    metrics = {name: Estimate(**values) for name, values in content["metrics"].items()}
    rows = pd.read_csv(table, keep_default_na=True)
    return Evaluation(metrics, content["definitions"], rows.fillna({"formula": "", "reason": ""}))


def file_stem(method: str) -> str:
    """Return the name of a row's files."""
    return method.replace(", ", "-")


def scored(
    folder: Path, method: str, entries: Entries, protocol: Protocol, say: Callable[[str], None]
) -> Evaluation:
    """Return what was kept of these entries, or score and keep them, as files in ``folder``."""
    stem = folder / file_stem(method)
    found = load_evaluation(stem, entries, protocol)
    if found is None:
        say(f"{method}: scoring {len(entries)} crystals")
        found = evaluate(entries, protocol)
        save_evaluation(stem, found, entries, protocol)
    return found


def _key(entries: Entries, protocol: Protocol) -> str:
    """Digest of everything that decides an evaluation."""
    evaluator = protocol.evaluator
    facts = {
        "version": pyg_crysdiff.__version__,
        "task": protocol.task,
        "target": protocol.target,
        "thresholds": protocol.success_thresholds(),
        "cutoffs": {name: list(pair) for name, pair in protocol.cutoffs.items()},
        "num_starts": protocol.num_starts,
        "stability": str(protocol.stability),
        "uniqueness": protocol.uniqueness,
        "novelty_of": protocol.novelty_of,
        "space_groups": protocol.space_groups,
        "seed": protocol.seed,
        "num_bootstrap": protocol.num_bootstrap,
        "evaluator": None if evaluator is None else [evaluator.card, evaluator.mean, evaluator.std],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for group in (entries, protocol.reference, protocol.train):
        digest.update(b"#")
        for entry in group:
            text = entry.digest() if isinstance(entry, Crystal) else entry.reason
            digest.update(f"{text}|".encode())
    return digest.hexdigest()
