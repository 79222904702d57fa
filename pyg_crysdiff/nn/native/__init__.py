"""Kernels in C that the processor's own compiler makes faster than chains of tensor operations.

Compiled at first use, in some seconds, and kept in the cache folder. Where there is no compiler, or
``CRYSDIFF_NATIVE=0`` is set, the plain forms in PyTorch do the same work.
"""

from pyg_crysdiff.nn.native.library import load_library

__all__ = ["load_library"]
