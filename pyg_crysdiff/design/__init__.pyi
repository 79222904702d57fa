from .answers import Answer, Oracle
from .objectives import Objective, read_objectives

__all__ = [
    "Answer",
    "Objective",
    "Oracle",
    "read_objectives",
]
