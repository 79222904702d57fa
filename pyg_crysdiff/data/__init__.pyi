from .crystal import BrokenEntry, Crystal
from .dataset import CrystalDataset
from .properties import property_of, set_properties
from .published import DATASETS, MP20, Carbon24, Demo, Perov5, load_dataset
from .readers import read_crystals
from .transforms import FullyConnected

__all__ = [
    "DATASETS",
    "MP20",
    "BrokenEntry",
    "Carbon24",
    "Crystal",
    "CrystalDataset",
    "Demo",
    "FullyConnected",
    "Perov5",
    "load_dataset",
    "property_of",
    "read_crystals",
    "set_properties",
]
