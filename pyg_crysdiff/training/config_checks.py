"""Values of a configuration that make no sense, told before anything is read or trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

_Rule = tuple[Callable[[float], bool], str]
_COUNT: _Rule = (lambda x: x >= 1 and x == int(x), "a whole number from 1 on")
_POSITIVE: _Rule = (lambda x: x > 0, "a number above 0")
_NOT_NEGATIVE: _Rule = (lambda x: x >= 0, "a number from 0 on")
_BELOW_ONE: _Rule = (lambda x: 0 <= x < 1, "a number from 0 to below 1")
_SHARE: _Rule = (lambda x: 0 < x <= 1, "a number above 0, at most 1")

_RULES: dict[str, _Rule] = {
    "seed": (lambda x: 0 <= x < 2**63 and x == int(x), "a whole number from 0 to 2^63 - 1"),
    "num_nodes": _COUNT,
    "max_epochs": _COUNT,
    "batch_size": _COUNT,
    "validate_every": _COUNT,
    "keep_every": _COUNT,
    "budget_minutes": _POSITIVE,
    "train_fraction": _SHARE,
    "condition_dropout": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "process.middle_times": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "optimizer.lr": _POSITIVE,
    "optimizer.matrix_lr": _POSITIVE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.warmup_steps": _NOT_NEGATIVE,
    "optimizer.final_lr": _NOT_NEGATIVE,
    "optimizer.clip_norm": _POSITIVE,
    "optimizer.ema_decay": _BELOW_ONE,
}
_CHOICES = {"optimizer.name": ("auto", "muon", "adamw")}
_MAY_BE_NULL = ("budget_minutes", "keep_every", "optimizer.clip_norm")


def check_values(config: Mapping[str, Any]) -> None:
    """Check the numbers and choices that every training configuration holds.

    Args:
        config: Configuration as composed from ``configs/train.yaml``; a field that is not there
            is not checked.

    Raises:
        ValueError: If one is of the wrong kind or makes no sense; the message names it.
    """
    for key, names in _CHOICES.items():
        value = _value(config, key)
        if value is not ... and value not in names:
            raise ValueError(f"{key}={value} must be one of {', '.join(names)}")
    for key, (fits, what) in _RULES.items():
        value = _value(config, key)
        if value is ... or (value is None and key in _MAY_BE_NULL):
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and fits(value)):
            raise ValueError(f"{key}={'null' if value is None else value} must be {what}")


def _value(config: Mapping[str, Any], key: str) -> Any:
    """Return what stands in a configuration under a key with dots; ``...`` where nothing does."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part, ...) if isinstance(value, Mapping) else ...
    return value
