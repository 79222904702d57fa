"""Fingerprints of structure and composition, the ruler behind coverage (COV, AMSD)."""

from pyg_crysdiff.evaluation.fingerprints.crystals import (
    COMPOSITION_DIM,
    STRUCTURE_DIM,
    Fingerprints,
    fingerprint_crystals,
)
from pyg_crysdiff.evaluation.fingerprints.magpie import MAGPIE_PROPERTIES, composition_fingerprint

__all__ = [
    "COMPOSITION_DIM",
    "MAGPIE_PROPERTIES",
    "STRUCTURE_DIM",
    "Fingerprints",
    "composition_fingerprint",
    "fingerprint_crystals",
]
