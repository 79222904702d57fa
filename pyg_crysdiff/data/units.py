"""Units of the properties that the published data sets have, by the name of the column."""

from __future__ import annotations

UNITS = {
    "band_gap": "eV",
    "dir_gap": "eV",
    "e_above_hull": "eV/atom",
    "energy_per_atom": "eV/atom",
    "formation_energy_per_atom": "eV/atom",
    "heat_ref": "eV/atom",
    "ind_gap": "eV",
}
