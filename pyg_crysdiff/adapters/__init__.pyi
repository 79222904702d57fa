from .core import ConditionedTransformer
from .diffcsp import DiffCSPDecoder, DiffCSPDenoiser
from .mattergen import MatterGenDenoiser
from .pyg import PyGDenoiser

__all__ = [
    "ConditionedTransformer",
    "DiffCSPDecoder",
    "DiffCSPDenoiser",
    "MatterGenDenoiser",
    "PyGDenoiser",
]
