"""Kinds of reverse steps and of their times, by name. Commands read them without PyTorch."""

from __future__ import annotations

from typing import Literal

Solver = Literal["ancestral", "renewing", "flow", "mixed"]
Spacing = Literal["uniform", "edm", "focused"]
