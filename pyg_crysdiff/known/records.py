"""What the database keeps of one crystal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formats.species import check_species
from pyg_crysdiff.data.formulas import anonymous_formula, reduced_formula
from pyg_crysdiff.errors import first_line
from pyg_crysdiff.known.cells import matching_key
from pyg_crysdiff.known.packing import pack

_DIGEST = 16  # bytes of the SHA-256: equal ones by chance need 10^19 crystals
_SPACE = 2**256


@dataclass(frozen=True)
class Record:
    """One row of the database.

    Attributes:
        digest: See :func:`short_digest`.
        name: Identifier in its source.
        formula: Reduced formula.
        anonymous: The same with letters for the elements.
        size: Atoms of the primitive cell; 0 where the cell cannot be reduced.
        crystal: Packed, as it was read.
        cell: Packed reduced primitive cell; None where it cannot be reduced.
    """

    digest: bytes
    name: str
    formula: str
    anonymous: str
    size: int
    crystal: bytes
    cell: bytes | None


def short_digest(crystal: Crystal) -> bytes:
    """Return the first half of a crystal's digest."""
    return bytes.fromhex(crystal.digest())[:_DIGEST]


def record_of(crystal: Crystal) -> Record | str:
    """Return the row of a crystal, or why it can have none, in one line."""
    try:
        if not len(crystal):
            return "it holds no atoms"
        if not crystal.is_finite:
            return "a coordinate or lattice vector is not finite"
        check_species(crystal.atomic_numbers)
        key, cell = matching_key(crystal)
        return Record(
            digest=short_digest(crystal),
            name=str(crystal.info.get("material_id", "")),
            formula=reduced_formula(crystal),
            anonymous=anonymous_formula(crystal),
            size=len(cell) if key is not None else 0,
            crystal=pack(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers),
            cell=pack(cell.lattice.matrix, cell.frac_coords, cell.atomic_numbers) if key else None,
        )
    except Exception as error:  # pymatgen's reductions fail in many ways on bad cells
        return first_line(error)


def sum_with(total: str, records: list[Record]) -> str:
    """Add rows to the digest of a set of rows, whose order does not matter, as hex.

    The digest is the sum of the SHA-256 of every row's digest and name, modulo 2^256.
    """
    number = int(total or "0", 16)
    for record in records:
        digest = hashlib.sha256(record.digest + record.name.encode(errors="surrogatepass"))
        number += int.from_bytes(digest.digest())
    return f"{number % _SPACE:064x}"
