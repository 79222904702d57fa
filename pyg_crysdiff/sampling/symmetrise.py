"""Symmetrised copies of crystals, with their space groups."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.writers import crystal_to_cif, write_extxyz, write_numbered
from pyg_crysdiff.evaluation.validity import structural_problem


def symmetrised(crystal: Crystal, symprec: float = 0.1, *, primitive: bool = False) -> Crystal:
    """Return the idealised cell of a crystal, its space group in ``info``.

    ``info`` gains ``space_group`` (symbol), ``space_group_number`` and ``symprec``; where no
    symmetry can be determined (unphysical structures) the crystal is returned as it is, as P1.

    Args:
        crystal: Crystal.
        symprec: Distance up to which positions count as equivalent, Angstrom.
        primitive: Return the standard primitive cell, not the conventional one.

    Raises:
        ValueError: If symprec is not positive.
    """
    if not symprec > 0:
        raise ValueError(f"symprec must be positive, got {symprec}")
    found, symbol, number = _refined(crystal, symprec, primitive) or (crystal, "P1", 1)
    facts = {"space_group": symbol, "space_group_number": number, "symprec": symprec}
    return replace(found.oriented(), info={**crystal.info, **facts})


def _refined(crystal: Crystal, symprec: float, primitive: bool) -> tuple[Crystal, str, int] | None:
    # pymatgen and spglib do not come to an end on cells that are no crystals.
    if structural_problem(crystal) is not None or not crystal.reducible:
        return None
    from pymatgen.symmetry import analyzer as symmetry  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            analyzer = symmetry.SpacegroupAnalyzer(crystal.to_structure(), symprec=symprec)
            ideal = (
                analyzer.get_primitive_standard_structure()
                if primitive
                else analyzer.get_refined_structure()
            )
            cell = Crystal.from_structure(ideal)
        except (symmetry.SymmetryUndeterminedError, ValueError, TypeError, AttributeError):
            return None
    return cell, analyzer.get_space_group_symbol(), analyzer.get_space_group_number()


def write_symmetrised(
    crystals: Sequence[Crystal], folder: str | Path, symprec: float = 0.1
) -> list[Crystal]:
    """Write symmetrised copies: ``symmetrised.extxyz`` and CIF files with symmetry operations.

    Args:
        crystals: Crystals, in the order of the samples.
        folder: Output folder.
        symprec: Distance up to which positions count as equivalent, Angstrom.

    Returns:
        The copies.
    """
    folder = Path(folder)
    copies = [symmetrised(c, symprec) for c in crystals]
    write_extxyz(copies, folder / "symmetrised.extxyz")
    write_numbered((_cif(copy, symprec) for copy in copies), folder / "symmetrised", ".cif")
    return copies


def _cif(copy: Crystal, symprec: float) -> str:
    if copy.info["space_group_number"] == 1:
        return crystal_to_cif(copy)
    from pymatgen.io.cif import CifWriter  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(CifWriter(copy.to_structure(), symprec=symprec))
