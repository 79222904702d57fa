"""The parts of the network that are written in C, because a chain of tensor operations is slower.

They are compiled at first use, which takes some seconds, and stay in the cache folder. Where there
is no compiler, or ``CRYSDIFF_NATIVE=0`` is set, the plain forms in PyTorch do the same work.
"""

from pyg_crysdiff.nn.native.library import kernels_wanted, load_library

__all__ = ["kernels_wanted", "load_library"]
