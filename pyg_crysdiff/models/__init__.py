"""Generators: network, process and units put together; checkpoints."""

from pyg_crysdiff.models.build import Generator, build_model, build_process, resolve_conditioner
from pyg_crysdiff.models.checkpoint import LoadedModel, export_checkpoint, load_checkpoint
from pyg_crysdiff.models.crystal_diffusion import CrystalDiffusion
from pyg_crysdiff.models.shipped import shipped_names

__all__ = [
    "CrystalDiffusion",
    "Generator",
    "LoadedModel",
    "build_model",
    "build_process",
    "export_checkpoint",
    "load_checkpoint",
    "resolve_conditioner",
    "shipped_names",
]
