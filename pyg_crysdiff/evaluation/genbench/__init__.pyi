from .distribution import frechet_distance, jensen_shannon_distance, mean_discrepancy
from .embeddings import chgnet_embeddings
from .metrics import genbench_metrics
from .settings import GenBench
from .tables import ElementTables

__all__ = [
    "ElementTables",
    "GenBench",
    "chgnet_embeddings",
    "frechet_distance",
    "genbench_metrics",
    "jensen_shannon_distance",
    "mean_discrepancy",
]
