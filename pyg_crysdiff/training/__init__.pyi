import pyg_crysdiff.configuration as _configuration

from .trainer import FitResult, fit, resume, train

compose_config = _configuration.compose_config
config_folder = _configuration.config_folder

__all__ = ["FitResult", "compose_config", "config_folder", "fit", "resume", "train"]
