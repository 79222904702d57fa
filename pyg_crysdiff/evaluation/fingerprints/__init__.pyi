from .crystals import (
    COMPOSITION_DIM,
    STRUCTURE_DIM,
    Fingerprints,
    fingerprint_crystals,
)
from .magpie import MAGPIE_PROPERTIES, composition_fingerprint

__all__ = [
    "COMPOSITION_DIM",
    "MAGPIE_PROPERTIES",
    "STRUCTURE_DIM",
    "Fingerprints",
    "composition_fingerprint",
    "fingerprint_crystals",
]
