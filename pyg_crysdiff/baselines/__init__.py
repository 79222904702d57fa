"""Other methods: their published numbers, their sample files and, for some, their live code."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
