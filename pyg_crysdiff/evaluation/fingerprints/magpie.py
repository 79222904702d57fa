"""Composition fingerprint: matminer's Magpie statistics, standardised with CDVAE's constants."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal

MAGPIE_PROPERTIES = (
    "Number", "MendeleevNumber", "AtomicWeight", "MeltingT", "Column", "Row", "CovalentRadius",
    "Electronegativity", "NsValence", "NpValence", "NdValence", "NfValence", "NValence",
    "NsUnfilled", "NpUnfilled", "NdUnfilled", "NfUnfilled", "NUnfilled", "GSvolume_pa",
    "GSbandgap", "GSmagmom", "SpaceGroupNumber",
)  # fmt: skip
_SCALING = Path(__file__).parent / "constants" / "magpie_scaling.json"


def composition_fingerprint(crystal: Crystal) -> NDArray[np.float64]:
    """Return the Magpie statistics of the elements, standardised with CDVAE's constants, (132,).

    For each of 22 properties: minimum, maximum, range, and over the atoms mean, mean absolute
    deviation and mode (the smallest value among equally frequent elements). Elements without a
    value get the average over all elements, as in matminer's default.
    """
    numbers, counts = np.unique(crystal.atomic_numbers, return_counts=True)
    values = _element_table()[numbers]
    weights = counts / counts.sum()
    low, high, mean = values.min(0), values.max(0), weights @ values
    spread = weights @ np.abs(values - mean)
    mode = values[counts == counts.max()].min(0)
    means, stds = _scaling()
    raw = np.stack([low, high, high - low, mean, spread, mode], 1).ravel()
    return np.asarray((raw - means) / stds)


@cache
def _element_table() -> NDArray[np.float64]:
    """Magpie's 22 properties by atomic number, (119, 22)."""
    from matminer.utils.data import MagpieData  # noqa: PLC0415
    from pymatgen.core import Element  # noqa: PLC0415

    data = MagpieData(impute_nan=True)
    table = np.full((119, len(MAGPIE_PROPERTIES)), np.nan)
    for z in range(1, 119):
        element = Element.from_Z(z)
        table[z] = [data.get_elemental_property(element, name) for name in MAGPIE_PROPERTIES]
    return table


@cache
def standard_element_table() -> NDArray[np.float64]:
    """Magpie's 22 properties by atomic number, (119, 22): mean 0, variance 1 over H to Pu."""
    table = _element_table()
    usual = table[1:95]
    found: NDArray[np.float64] = (table - usual.mean(0)) / usual.std(0)
    return found


@cache
def _scaling() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    raw = json.loads(_SCALING.read_text(encoding="utf-8"))
    return np.array(raw["means"]), np.array(raw["stds"])
