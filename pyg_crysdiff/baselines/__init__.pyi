from .baseline import (
    Baseline,
    baseline_names,
    load_baseline,
    published_rows,
)
from .live import LiveRequest, run_live

__all__ = [
    "Baseline",
    "LiveRequest",
    "baseline_names",
    "load_baseline",
    "published_rows",
    "run_live",
]
