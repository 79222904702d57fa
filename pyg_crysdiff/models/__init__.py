"""Generators: network, process and units put together; checkpoints."""

from typing import Any

import lazy_loader

from pyg_crysdiff._renamed import renamed

_lazy, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_OLD_NAMES = {"shipped_names": "pretrained_names"}


def __getattr__(name: str) -> Any:
    return _lazy(renamed(__name__, _OLD_NAMES, name) if name in _OLD_NAMES else name)
