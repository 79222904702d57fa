"""Training with Lightning and Hydra."""

from pyg_crysdiff.configuration import compose_config, config_folder
from pyg_crysdiff.training.trainer import FitResult, fit, resume, train

__all__ = ["FitResult", "compose_config", "config_folder", "fit", "resume", "train"]
