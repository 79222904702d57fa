from .harness import evaluate
from .protocol import TASKS, Entry, Evaluation, Protocol
from .results import Estimate, Results, Row
from .stability import Stability

__all__ = [
    "TASKS",
    "Entry",
    "Estimate",
    "Evaluation",
    "Protocol",
    "Results",
    "Row",
    "Stability",
    "evaluate",
]
