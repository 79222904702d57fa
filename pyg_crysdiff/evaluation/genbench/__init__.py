"""The families of LeMat-GenBench (arXiv 2512.04562) that need no gated data, written anew.

The names in ``__init__.pyi`` are loaded when they are first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
