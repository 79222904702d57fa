from .answers import Answer, Oracle
from .objectives import Objective, read_objectives
from .oracles import find_oracle

__all__ = [
    "Answer",
    "Objective",
    "Oracle",
    "find_oracle",
    "read_objectives",
]
