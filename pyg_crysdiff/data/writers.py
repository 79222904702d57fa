"""Writing crystals: CIF, POSCAR, extended XYZ and the tensor file of CDVAE's scripts.

Every crystal is written as :meth:`pyg_crysdiff.data.Crystal.oriented` gives it, so that all files
agree and no cell is left-handed, which VASP refuses. Atoms keep their order, in which site i of a
template is atom i; POSCAR files alone have them grouped by species, one group for each POTCAR.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import torch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.storage import append_text, replacing, write_text

_NO_STRUCTURE = "# This generated crystal is not a structure: not finite, empty or flat.\n"


def crystal_to_cif(crystal: Crystal) -> str:
    """Return CIF text in P1, right-handed as every CIF is.

    A crystal that no CIF can hold (not finite, zero volume, no atoms) gives a file with a
    comment only, so that file i is crystal i.
    """
    from pymatgen.io.cif import CifWriter  # noqa: PLC0415

    if not _has_structure(crystal):
        return _NO_STRUCTURE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(CifWriter(crystal.oriented().to_structure(), significant_figures=8))


def crystal_to_poscar(crystal: Crystal, comment: str | None = None, *, group: bool = True) -> str:
    """Return VASP's POSCAR, fractional coordinates in a right-handed cell.

    A crystal that is none (not finite, zero volume, no atoms) gives a file with a comment only.

    Args:
        crystal: Crystal.
        comment: First line; None for the formula.
        group: Atoms of one species stand together, species in the order of their first atom. Else
            atoms keep their order, and a species may come several times.
    """
    from pymatgen.io.vasp import Poscar  # noqa: PLC0415  (takes its time)

    if not _has_structure(crystal):
        return _NO_STRUCTURE
    structure = crystal.oriented().to_structure()
    if group:
        first = {z: i for i, z in reversed(list(enumerate(structure.atomic_numbers)))}
        structure.sort(key=lambda site: first[site.specie.Z])  # a stable sort
    return str(Poscar(structure, comment=comment).get_str(significant_figures=12))


def write_poscars(crystals: Sequence[Crystal], folder: str | Path) -> None:
    """Write ``poscar/00000.vasp`` and so on, see :func:`crystal_to_poscar`.

    Args:
        crystals: What to write, in order.
        folder: Output folder, in which ``poscar/`` is made.
    """
    write_numbered(map(crystal_to_poscar, crystals), Path(folder) / "poscar", ".vasp")


def write_numbered(texts: Iterable[str], folder: Path, suffix: str) -> None:
    """Write files 00000, 00001 and so on, and remove those of an earlier, longer list.

    Args:
        texts: Content of each file.
        folder: Where; made for the first file.
        suffix: End of the names.
    """
    written = []
    for index, text in enumerate(texts):
        written.append(folder / f"{index:05d}{suffix}")
        write_text(written[-1], text, flush=False)
    for stale in set(folder.glob(f"[0-9][0-9][0-9][0-9][0-9]{suffix}")) - set(written):
        stale.unlink()


def _has_structure(crystal: Crystal) -> bool:
    return crystal.is_finite and len(crystal) > 0 and crystal.volume >= 1e-6


def crystals_to_extxyz(crystals: Sequence[Crystal]) -> str:
    """Return extended XYZ text, a frame for each crystal with its ``info`` in the comment line."""
    import ase.io  # noqa: PLC0415

    text = StringIO()
    ase.io.write(text, [c.oriented().to_ase() for c in crystals], format="extxyz")
    return text.getvalue()


def write_extxyz(crystals: Sequence[Crystal], path: str | Path, *, append: bool = False) -> None:
    """Write extended XYZ with each crystal's ``info`` in its comment line.

    Args:
        crystals: What to write, in order.
        path: File.
        append: Add to the file instead of replacing it.
    """
    (append_text if append else write_text)(path, crystals_to_extxyz(crystals))


def save_cdvae(crystals: Sequence[Crystal], path: str | Path) -> None:
    """Write the tensor file that CDVAE's and DiffCSP's scripts read.

    Keys, with the leading axis of one evaluation: ``frac_coords`` (1, sum N, 3), ``atom_types``
    (1, sum N), ``lengths`` (1, M, 3) in Angstrom, ``angles`` (1, M, 3) in degrees, ``num_atoms``
    (1, M); besides, ``provenance``: a JSON list with each crystal's ``info``.
    """
    # Lengths and angles tell nothing of handedness: readers build the right-handed cell.
    crystals = [c.oriented() for c in crystals]
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
    tensors = {name: torch.from_numpy(array).unsqueeze(0) for name, array in stacked.items()}
    tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    # In single precision the numbers next to 1 are 1.
    tensors["frac_coords"] = tensors["frac_coords"] % 1.0
    content = {**tensors, "provenance": json.dumps([c.info for c in crystals])}
    # Through a handle, since PyTorch keeps the name of a path in the file.
    with replacing(path) as temporary, temporary.open("wb") as handle:
        torch.save(content, handle)
