from .build import build_model, resolve_conditioner
from .checkpoint import LoadedModel, export_checkpoint, load_checkpoint
from .crystal_diffusion import CrystalDiffusion
from .generator import Generator
from .joint import build_process
from .pretrained import pretrained_names

__all__ = [
    "CrystalDiffusion",
    "Generator",
    "LoadedModel",
    "build_model",
    "build_process",
    "export_checkpoint",
    "load_checkpoint",
    "pretrained_names",
    "resolve_conditioner",
]
