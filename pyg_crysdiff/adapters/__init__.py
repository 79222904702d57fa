"""The Transformer inside other pipelines, and their networks inside ours.

Each class is named by a ``_target_`` (or ``class_path``) line in the peer's own configuration;
nothing of the peer is edited, and nothing of it is imported before it is there.
"""

from pyg_crysdiff.adapters.core import ConditionedTransformer
from pyg_crysdiff.adapters.diffcsp import DiffCSPDecoder, DiffCSPDenoiser
from pyg_crysdiff.adapters.mattergen import MatterGenDenoiser
from pyg_crysdiff.adapters.pyg import PyGDenoiser

__all__ = [
    "ConditionedTransformer",
    "DiffCSPDecoder",
    "DiffCSPDenoiser",
    "MatterGenDenoiser",
    "PyGDenoiser",
]
