from .data import Crystal, CrystalDataset, load_dataset
from .diffusion.sampler import Sampler
from .evaluation import evaluate
from .models import load_checkpoint
from .property.selection import select
from .sampling import Control, sample
from .training import fit

__version__: str

__all__ = [
    "Control",
    "Crystal",
    "CrystalDataset",
    "Sampler",
    "evaluate",
    "fit",
    "load_checkpoint",
    "load_dataset",
    "sample",
    "select",
]
