"""Other methods: their published numbers, their sample files and, for some, their live code."""

from pyg_crysdiff.baselines.baseline import (
    Baseline,
    baseline_names,
    load_baseline,
    published_rows,
)
from pyg_crysdiff.baselines.live import LiveRequest, run_live

__all__ = [
    "Baseline",
    "LiveRequest",
    "baseline_names",
    "load_baseline",
    "published_rows",
    "run_live",
]
