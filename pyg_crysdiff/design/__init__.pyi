from .answers import Answer, Oracle
from .ledger import Ledger
from .loop import DesignResult, design
from .objectives import Objective, read_objectives
from .oracles import find_oracle
from .report import write_report
from .settings import DesignSettings

__all__ = [
    "Answer",
    "DesignResult",
    "DesignSettings",
    "Ledger",
    "Objective",
    "Oracle",
    "design",
    "find_oracle",
    "read_objectives",
    "write_report",
]
