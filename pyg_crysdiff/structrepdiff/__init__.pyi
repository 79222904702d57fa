from .basis import Entries, Principal
from .ead import EmbeddedAtomDensity
from .mlp import RepresentationMLP
from .model import StructRepDiff
from .reconstruction import Reconstruction, Reconstructor
from .representation import Representation
from .search import Round, Search
from .unet import RepresentationUNet

__all__ = [
    "EmbeddedAtomDensity",
    "Entries",
    "Principal",
    "Reconstruction",
    "Reconstructor",
    "Representation",
    "RepresentationMLP",
    "RepresentationUNet",
    "Round",
    "Search",
    "StructRepDiff",
]
