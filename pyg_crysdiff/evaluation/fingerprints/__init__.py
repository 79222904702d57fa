"""Fingerprints of structure and composition, the ruler behind coverage (COV, AMSD)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
