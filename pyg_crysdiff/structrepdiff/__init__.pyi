from .ead import EmbeddedAtomDensity
from .model import StructRepDiff
from .reconstruction import Reconstruction, Reconstructor
from .representation import Representation
from .search import Round, Search
from .unet import RepresentationUNet

__all__ = [
    "EmbeddedAtomDensity",
    "Reconstruction",
    "Reconstructor",
    "Representation",
    "RepresentationUNet",
    "Round",
    "Search",
    "StructRepDiff",
]
