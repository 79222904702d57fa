"""Known crystals that the samples of a benchmark run are looked up among."""

from __future__ import annotations

from typing import Any

from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.hits import lookup_facts
from pyg_crysdiff.evaluation.protocol import Protocol


def known_crystals(settings: Settings, data: Splits) -> dict[str, list[Crystal]]:
    """Return the crystals of all parts of a set that is the whole of its space; else none.

    They are the parts that the run uses: with another split than the official one they may be
    less than the whole.
    """
    if settings.lookup == "none" or data.train.space_size is None:
        return {}
    parts = {"train": data.train, "val": data.val, "test": data.test}
    return {name: part.crystals() for name, part in parts.items()}


def lookup_settings(protocol: Protocol, data: Splits) -> dict[str, Any]:
    """Return what results say about the look-up, as ``lookup``; empty where there is none."""
    if not protocol.lookup:
        return {}
    return {"lookup": lookup_facts(protocol, data.train.space_size)}
