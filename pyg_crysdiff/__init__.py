"""Diffusion models for the inverse design of crystals, on PyTorch Geometric."""

from pyg_crysdiff import _renamed

__version__ = "0.1.0"

_renamed.install()
