"""What is known of the published data sets without opening them or loading PyG: names and units."""

from __future__ import annotations

_UNITS = {
    "demo": {"formation_energy_per_atom": "eV/atom"},
    "carbon24": {"energy_per_atom": "eV/atom"},
    "perov5": {"heat_ref": "eV/atom", "dir_gap": "eV", "ind_gap": "eV"},
    "mp20": {
        "formation_energy_per_atom": "eV/atom", "band_gap": "eV", "e_above_hull": "eV/atom",
    },
}  # fmt: skip
DATASET_NAMES = tuple(_UNITS)


def unit_of(dataset: str | None, name: str) -> str | None:
    """Return the unit of a property; None where it is not known, as for sets of one's own.

    Args:
        dataset: Name as in :func:`pyg_crysdiff.data.load_dataset`.
        name: Property.
    """
    return _UNITS.get(dataset or "", {}).get(name)
