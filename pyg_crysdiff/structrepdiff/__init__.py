"""StructRepDiff (arXiv 2408.07213): generate descriptors, then find crystals that have them."""

from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.model import StructRepDiff
from pyg_crysdiff.structrepdiff.reconstruction import Reconstruction, Reconstructor
from pyg_crysdiff.structrepdiff.representation import Representation
from pyg_crysdiff.structrepdiff.search import Round, Search
from pyg_crysdiff.structrepdiff.unet import RepresentationUNet

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
