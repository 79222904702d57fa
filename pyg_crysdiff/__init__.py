"""Diffusion models for the inverse design of crystals, on PyTorch Geometric.

The usual names can be imported from here, such as ``from pyg_crysdiff import fit, sample``. Each is
loaded when it is first used, so that ``import pyg_crysdiff`` itself loads no torch. The list stands
in ``__init__.pyi``, which type checkers and editors read too.
"""

import lazy_loader

from pyg_crysdiff import _renamed

__version__ = "0.1.0"

_renamed.install()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
