"""The Transformer inside other pipelines, and their networks inside ours.

Each class is named by a ``_target_`` (or ``class_path``) line in the peer's own configuration;
nothing of the peer is edited, and nothing of it is imported before it is there.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
