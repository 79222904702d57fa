"""Evaluations on disk, so that samples once scored are not scored again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import pandas as pd

import pyg_crysdiff
from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol, evaluate
from pyg_crysdiff.evaluation.predictor import identity_of
from pyg_crysdiff.evaluation.results import Estimate
from pyg_crysdiff.storage import file_digest, read_json, write_json, write_text

Entries = Sequence[Crystal | BrokenEntry]


def save_evaluation(stem: Path, found: Evaluation, entries: Entries, protocol: Protocol) -> None:
    """Write ``stem.csv`` (one row per entry) and ``stem.json`` (metrics, definitions)."""
    text = found.table.to_csv(index=False)
    write_text(stem.with_name(stem.name + ".csv"), text)
    content = {
        "key": _key(entries, protocol),
        "table": hashlib.sha256(text.encode()).hexdigest(),
        "metrics": {name: asdict(estimate) for name, estimate in found.metrics.items()},
        "definitions": found.definitions,
    }
    write_json(stem.with_name(stem.name + ".json"), content)


def load_evaluation(stem: Path, entries: Entries, protocol: Protocol) -> Evaluation | None:
    """Return what was kept of these entries under this protocol; None if nothing whole is there."""
    path, table = stem.with_name(stem.name + ".json"), stem.with_name(stem.name + ".csv")
    if protocol.evaluator is not None and identity_of(protocol.evaluator) is None:
        return None  # nobody knows whether it is the same evaluator
    if not (path.is_file() and table.is_file()):
        return None
    try:
        content, text = read_json(path), table.read_bytes()
        if content["key"] != _key(entries, protocol):
            return None
        if content["table"] != hashlib.sha256(text).hexdigest():
            return None
        metrics = {name: Estimate(**values) for name, values in content["metrics"].items()}
        definitions = dict(content["definitions"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # damaged
        return None
    rows = pd.read_csv(BytesIO(text), keep_default_na=True)
    return Evaluation(metrics, definitions, rows.fillna({"formula": "", "reason": ""}))


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
    found = load_evaluation(stem, entries, protocol)
    if found is None:
        before()
        found = evaluate(entries, protocol)
        save_evaluation(stem, found, entries, protocol)
    return found


def _key(entries: Entries, protocol: Protocol) -> str:
    """Digest of everything that decides an evaluation."""
    evaluator, stability = protocol.evaluator, protocol.stability
    facts = {
        "version": pyg_crysdiff.__version__,
        "task": protocol.task,
        "target": protocol.target,
        "thresholds": protocol.success_thresholds(),
        "cutoffs": {name: list(pair) for name, pair in protocol.cutoffs.items()},
        "num_starts": protocol.num_starts,
        "stability": str(stability),
        "hull": file_digest(stability.hull) if stability and stability.hull else None,
        "uniqueness": protocol.uniqueness,
        "novelty_of": protocol.novelty_of,
        "space_groups": protocol.space_groups,
        "seed": protocol.seed,
        "num_bootstrap": protocol.num_bootstrap,
        "evaluator": None if evaluator is None else identity_of(evaluator),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for group in (entries, protocol.reference, protocol.train):
        digest.update(b"#")
        for entry in group:
            text = entry.digest() if isinstance(entry, Crystal) else entry.reason
            digest.update(f"{text}|".encode())
    return digest.hexdigest()
