"""Sampling: what is asked for, the run, and the files it leaves."""

from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.sampling.control import Control, Template
from pyg_crysdiff.sampling.pipeline import sample
from pyg_crysdiff.sampling.request import Sizes, resolve_target
from pyg_crysdiff.sampling.store import SampleStore
from pyg_crysdiff.sampling.symmetrise import symmetrised, write_symmetrised

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
