"""Crystals, data sets, file formats."""

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.dataset import CrystalDataset
from pyg_crysdiff.data.properties import property_of, set_properties
from pyg_crysdiff.data.published import DATASETS, MP20, Carbon24, Demo, Perov5, load_dataset
from pyg_crysdiff.data.readers import read_crystals
from pyg_crysdiff.data.transforms import FullyConnected

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
