"""Sampling: what is asked for, the run, and the files it leaves."""

from pyg_crysdiff.sampling.request import Sizes, resolve_target
from pyg_crysdiff.sampling.run import sample
from pyg_crysdiff.sampling.store import SampleStore

__all__ = ["SampleStore", "Sizes", "resolve_target", "sample"]
