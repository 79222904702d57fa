"""Crystals, objectives and facts as JSON text, and back to the last bit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.objectives import Objective


def plain(value: Any) -> Any:
    """Return what JSON can hold of a value: numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [plain(item) for item in (sorted(value) if isinstance(value, set) else value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def to_text(value: Any) -> str:
    """Return a value as JSON."""
    return json.dumps(plain(value), allow_nan=False)


def crystal_text(crystal: Crystal) -> str:
    """Return a crystal as JSON; every number comes back to the last bit.

    Raises:
        ValueError: If it is not finite.
    """
    fields = {
        "lattice": crystal.lattice.tolist(),
        "frac_coords": crystal.frac_coords.tolist(),
        "atomic_numbers": crystal.atomic_numbers.tolist(),
    }
    return json.dumps({**fields, "info": plain(crystal.info)}, allow_nan=False)


def read_crystal(text: str) -> Crystal:
    """Return the crystal that :func:`crystal_text` wrote."""
    return Crystal(**json.loads(text))


def objective_facts(objectives: Iterable[Objective]) -> list[dict[str, Any]]:
    """Return objectives as plain values; a bound that is not there is None."""
    return [plain(vars(objective)) for objective in objectives]


def read_objective_facts(facts: Iterable[Mapping[str, Any]]) -> tuple[Objective, ...]:
    """Return the objectives of :func:`objective_facts`."""
    return tuple(
        Objective(
            str(one["name"]),
            -math.inf if one["low"] is None else float(one["low"]),
            math.inf if one["high"] is None else float(one["high"]),
            int(one["direction"]),
        )
        for one in facts
    )
