"""StructRepDiff (arXiv 2408.07213): diffusion of descriptors, crystals by inverting them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
