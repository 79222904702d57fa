from .answers import Answer, Oracle
from .ledger import Ledger
from .loop import DesignResult, design
from .objectives import Objective, read_objectives
from .settings import DesignSettings

__all__ = [
    "Answer",
    "DesignResult",
    "DesignSettings",
    "Ledger",
    "Objective",
    "Oracle",
    "design",
    "read_objectives",
]
