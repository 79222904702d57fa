from .combined import CombinedOracle
from .command import CommandOracle
from .find import find_oracle
from .folder import FolderOracle
from .function import FunctionOracle
from .lookup import LookupOracle
from .model import ModelOracle
from .potential import PotentialOracle

__all__ = [
    "CombinedOracle",
    "CommandOracle",
    "FolderOracle",
    "FunctionOracle",
    "LookupOracle",
    "ModelOracle",
    "PotentialOracle",
    "find_oracle",
]
