"""StructRepDiff (arXiv 2408.07213): generate descriptors, then find crystals that have them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
