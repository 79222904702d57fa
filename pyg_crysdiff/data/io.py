"""Writing crystals: CIF, extended XYZ and the tensor file of CDVAE's scripts."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
import torch

from pyg_crysdiff.data.crystal import Crystal


def crystal_to_cif(crystal: Crystal) -> str:
    """Return CIF text in P1.

    A crystal that no CIF can hold (not finite, zero volume, no atoms) gives a file with a
    comment only, so that file i is crystal i.
    """
    from pymatgen.io.cif import CifWriter  # noqa: PLC0415

    finite = np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all()
    if not finite or len(crystal) == 0 or crystal.volume < 1e-6:
        return "# This generated crystal is not a structure: not finite, empty or flat.\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(CifWriter(crystal.to_structure(), significant_figures=8))


def write_extxyz(crystals: Sequence[Crystal], path: str | Path, *, append: bool = False) -> None:
    """Write extended XYZ with each crystal's ``info`` in its comment line.

    Args:
        crystals: What to write, in order.
        path: File.
        append: Add to the file instead of replacing it.
    """
    ase.io.write(path, [c.to_ase() for c in crystals], format="extxyz", append=append)


def save_cdvae(crystals: Sequence[Crystal], path: str | Path) -> None:
    """Write the tensor file that CDVAE's and DiffCSP's scripts read.

    Keys, with the leading axis of one evaluation: ``frac_coords`` (1, sum N, 3), ``atom_types``
    (1, sum N), ``lengths`` (1, M, 3) in Angstrom, ``angles`` (1, M, 3) in degrees, ``num_atoms``
    (1, M); besides, ``provenance``: a JSON list with each crystal's ``info``.
    """
    parameters = [c.parameters() for c in crystals]
    stacked = {
        "frac_coords": np.concatenate([c.frac_coords for c in crystals] or [np.zeros((0, 3))]),
        "atom_types": np.concatenate(
            [c.atomic_numbers for c in crystals] or [np.zeros(0, dtype=np.int64)]
        ),
        "lengths": np.array([p[0] for p in parameters]).reshape(-1, 3),
        "angles": np.array([p[1] for p in parameters]).reshape(-1, 3),
        "num_atoms": np.array([len(c) for c in crystals], dtype=np.int64),
    }
    content: dict[str, torch.Tensor | str] = {}
    for name, array in stacked.items():
        tensor = torch.from_numpy(array)
        content[name] = (tensor.float() if tensor.is_floating_point() else tensor).unsqueeze(0)
    content["provenance"] = json.dumps([c.info for c in crystals])
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    torch.save(content, temporary)
    temporary.replace(path)
