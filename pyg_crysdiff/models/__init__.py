"""Generators: network, process and units put together; checkpoints."""

from typing import Any

from pyg_crysdiff._renamed import renamed
from pyg_crysdiff.models.build import build_model, resolve_conditioner
from pyg_crysdiff.models.checkpoint import LoadedModel, export_checkpoint, load_checkpoint
from pyg_crysdiff.models.crystal_diffusion import CrystalDiffusion
from pyg_crysdiff.models.generator import Generator
from pyg_crysdiff.models.joint import build_process
from pyg_crysdiff.models.pretrained import pretrained_names

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


def __getattr__(name: str) -> Any:
    return globals()[renamed(__name__, {"shipped_names": "pretrained_names"}, name)]
