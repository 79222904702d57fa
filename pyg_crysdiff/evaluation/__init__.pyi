from .harness import evaluate
from .lookup import LookUp, look_up
from .predictor import PropertyPredictor
from .protocol import TASKS, Entry, Evaluation, Protocol
from .results import Estimate, Results, Row
from .stability import Stability

__all__ = [
    "TASKS",
    "Entry",
    "Estimate",
    "Evaluation",
    "LookUp",
    "PropertyPredictor",
    "Protocol",
    "Results",
    "Row",
    "Stability",
    "evaluate",
    "look_up",
]
