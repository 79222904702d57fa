"""Samples of peers for a benchmark: their sample files, or their own code, trained here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyg_crysdiff.baselines import Baseline, LiveRequest, published_rows, run_live
from pyg_crysdiff.benchmark.asks import UNCONDITIONAL
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.data.properties import with_value
from pyg_crysdiff.data.readers import read_and_tell
from pyg_crysdiff.evaluation.results import Row
from pyg_crysdiff.platform import choose_device

Say = Callable[[str], None]


@dataclass(frozen=True)
class PeerSamples:
    """Samples of one row.

    Attributes:
        name: Name of the row.
        entries: Its crystals.
        source: File or checkout.
        details: Facts; ``num_starts`` where they are candidates of an optimisation's starts.
    """

    name: str
    entries: list[Crystal | BrokenEntry]
    source: str
    details: dict[str, Any] = field(default_factory=dict)


def published_peers(dataset: str) -> list[Row]:
    """Return the published rows beside a benchmark of a data set.

    Success rates first, then coverage of the test set by crystals without a condition, where it is
    counted with the usual cut-offs and over 10,000 crystals.
    """
    rows = published_rows(dataset, "optimisation")
    for row in published_rows(dataset, "generation"):
        if "cov_recall" in row.metrics:
            rows.append(replace(row, method=f"{row.method}, {UNCONDITIONAL}"))
    return rows


def peer_samples(
    settings: Settings,
    baseline: Baseline,
    path: Path,
    data: Splits,
    property_name: str,
    say: Say,
) -> Iterator[PeerSamples]:
    """Yield a peer's samples; train and sample it first where ``path`` is its checkout.

    Args:
        settings: Settings of the run.
        baseline: The peer.
        path: Its sample file or output folder, or a checkout.
        data: Data set of the run.
        property_name: Property that is optimised.
        say: Receives a line about what is done.
    """
    if not (path.is_dir() and baseline.is_checkout(path)):
        file = baseline.find_samples(path, "optimisation")
        entries = read_and_tell(file, say)
        starts = baseline.starts_of(len(entries))
        details = {} if starts is None else {"num_starts": starts}
        yield PeerSamples(baseline.title, entries, str(file), details)
        return
    say(f"{baseline.title}: training and sampling {path}")
    train = with_value(data.train.crystals(), property_name)
    val = with_value(data.val.crystals(), property_name)
    request = _live_request(settings, baseline, path, property_name, max(map(len, train)))
    samples, facts = run_live(baseline, request, train, val)
    starts = facts.pop("num_starts", None)
    name = f"{baseline.title} (live)"
    if "optimisation" in samples:
        own = facts if starts is None else {**facts, "num_starts": starts}
        yield PeerSamples(name, samples["optimisation"], str(path), own)
    if "generation" in samples:
        title = f"{name}, {UNCONDITIONAL}"
        yield PeerSamples(title, samples["generation"], str(path), facts)


def _live_request(
    settings: Settings, baseline: Baseline, path: Path, property_name: str, max_atoms: int
) -> LiveRequest:
    live = baseline.live
    assert live is not None
    return LiveRequest(
        checkout=str(path.resolve()),
        work=str((settings.out / "live" / baseline.name).resolve()),
        config=live.configs.get(settings.dataset, live.configs["own"]),
        property_name=property_name,
        max_atoms=max_atoms,
        minutes=settings.budget_minutes,
        num_samples=settings.num_samples,
        sampler_steps=settings.baseline_steps.get(baseline.name),
        seed=settings.seed,
        device=str(choose_device(settings.device)),
    )
