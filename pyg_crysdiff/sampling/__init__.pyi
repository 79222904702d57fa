from .control import Control, Template
from .pipeline import Sampler, sample
from .request import Sizes, resolve_target
from .store import SampleStore
from .symmetrise import symmetrised, write_symmetrised

__all__ = [
    "Control",
    "SampleStore",
    "Sampler",
    "Sizes",
    "Template",
    "resolve_target",
    "sample",
    "symmetrised",
    "write_symmetrised",
]
