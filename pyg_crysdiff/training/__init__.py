"""Training with Lightning and Hydra."""

import lazy_loader

from pyg_crysdiff.configuration import compose_config, config_folder

__getattr__, __dir__, _lazy = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["compose_config", "config_folder", *_lazy]  # noqa: PLE0604
