from .distribution import frechet_distance, jensen_shannon_distance, mean_discrepancy
from .metrics import genbench_metrics
from .settings import GenBench
from .tables import ElementTables

__all__ = [
    "ElementTables",
    "GenBench",
    "frechet_distance",
    "genbench_metrics",
    "jensen_shannon_distance",
    "mean_discrepancy",
]
