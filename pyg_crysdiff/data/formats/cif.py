"""One block of a CIF file to a crystal, with every step checked against what the block states."""

from __future__ import annotations

import re
import warnings
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.formats.cif_sites import SAME_PLACE, listed_sites, number
from pyg_crysdiff.data.formats.cif_text import Block, read_block, split_blocks
from pyg_crysdiff.data.formats.orbits import orbit
from pyg_crysdiff.data.formats.species import MOST_ATOMS, atomic_number, check_species, symbol_of
from pyg_crysdiff.data.formats.symmetry import symmetry_operations

_ELEMENT = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")
_THINNEST = 0.01  # Angstrom between two faces of the cell, as in pymatgen


def cif_crystal(text: str, *, as_listed: bool = False) -> Crystal:
    """Read the one structure of a CIF text.

    Cell parameters, sites and symmetry operations are taken as they are stated. Operations that
    are not listed come from the Hall or Hermann-Mauguin symbol or the number of the space group,
    in the setting that is named or that fits the cell. Coordinates within 1e-4 of 1/3 and 2/3 are
    these; atoms come in the order of their electronegativity (both as pymatgen does).

    Args:
        text: The text.
        as_listed: Leave the atoms in the order of the sites in the text instead, the images of a
            site one after the other.

    Raises:
        ValueError: If something is missing, ambiguous or contradicts another thing that the block
            states: the cell and the symmetry, the atoms and the formula, two sites in one place,
            occupancies that are not full, dummies, implicit hydrogens. The message names it.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # a comment ends with its line
    blocks = [b for b in map(read_block, split_blocks(text)) if b.holds_atoms]
    if len(blocks) != 1:
        many = f"holds {len(blocks)} structures in the place of one" if blocks else "has no atoms"
        raise ValueError(f"the CIF text {many}")
    block = blocks[0]
    lattice = _lattice(block)
    formula = stated_formula(block)
    sites = listed_sites(block, formula)
    rotations, shifts = symmetry_operations(
        block, lattice, sites.frac_coords, sites.numbers, _atom_counts(block, formula)
    )
    if len(sites.labels) * len(rotations) > 10 * MOST_ATOMS:
        raise ValueError(f"{len(sites.labels)} sites and {len(rotations)} operations are too many")
    numbers, frac = [], []
    for label, z, place in zip(sites.labels, sites.numbers, sites.frac_coords, strict=True):
        images = orbit(place, rotations, shifts, lattice)
        if len(rotations) % len(images):
            raise ValueError(f"site {label} lies too near its images to tell them apart")
        numbers += [int(z)] * len(images)
        frac.append(images)
    coords = np.concatenate(frac)
    check_species(numbers)
    _check_places(coords, [s for s, f in zip(sites.labels, frac, strict=True) for _ in f])
    _check_formula(block, formula, numbers)
    return _crystal(lattice, numbers, coords, as_listed)


def _crystal(
    lattice: NDArray[np.float64], numbers: list[int], coords: NDArray[np.float64], as_listed: bool
) -> Crystal:
    from pymatgen.core import Composition, Element, Lattice, Structure  # noqa: PLC0415

    elements = [Element.from_Z(z) for z in numbers]
    order = list(range(len(numbers)))
    if not as_listed:
        ranks = {e: Composition({e: 1}) for e in set(elements)}
        order.sort(key=lambda i: ranks[elements[i]])
    structure = Structure(Lattice(lattice), [elements[i] for i in order], coords[order])
    return Crystal.from_structure(structure if as_listed else structure.get_sorted_structure())


def _lattice(block: Block) -> NDArray[np.float64]:
    from pymatgen.core import Lattice  # noqa: PLC0415

    tags = [f"_cell_length_{a}" for a in "abc"]
    tags += [f"_cell_angle_{a}" for a in ("alpha", "beta", "gamma")]
    if missing := [tag for tag in tags if block.get(tag) is None]:
        raise ValueError(f"the cell is not whole: no {', '.join(missing)}")
    six = [number(block.get(tag) or "", tag) for tag in tags]
    lengths, angles = six[:3], six[3:]
    if min(lengths) <= 0:
        raise ValueError(f"a cell length is not above zero: {lengths}")
    cosines = np.cos(np.radians(angles))
    # Volume of the cell with edges of length 1, squared.
    squared = 1 - (cosines**2).sum() + 2 * cosines.prod()
    if not (min(angles) > 0 and max(angles) < 180 and squared > 1e-9):
        raise ValueError(f"the cell angles {', '.join(f'{a:g}' for a in angles)} span no cell")
    lattice = Lattice.from_parameters(*six)
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice.matrix), axis=0)
    if heights.min() < _THINNEST:
        raise ValueError(f"the cell is flat: two of its faces are {heights.min():.3g} A apart")
    return np.array(lattice.matrix)


def _check_places(coords: NDArray[np.float64], labels: list[str]) -> None:
    from scipy.spatial import cKDTree  # noqa: PLC0415

    inside = coords % 1.0 % 1.0
    pairs = cKDTree(inside, boxsize=1.0).query_pairs(SAME_PLACE, p=np.inf)
    if pairs:
        i, j = min(pairs)
        raise ValueError(f"sites {labels[i]} and {labels[j]} overlap: they lie in the same place")


def stated_formula(block: Block) -> Counter[str] | None:
    """Return the atoms of the stated formula; None if none is stated or it cannot be read."""
    text = block.get("_chemical_formula_sum")
    if text is None:
        return None
    plain = re.sub(r"\s", "", text)
    parts = _ELEMENT.findall(plain)
    if "".join(a + b for a, b in parts) != plain:
        warnings.warn(f"the formula {text!r} cannot be read and was not checked", stacklevel=2)
        return None
    out: Counter[str] = Counter()
    try:
        for symbol, count in parts:
            element = symbol_of(atomic_number(symbol))
            out[element] += float(count or 1)  # type: ignore[assignment]
    except ValueError:
        warnings.warn(f"the formula {text!r} cannot be read and was not checked", stacklevel=2)
        return None
    return +out or None


def _per_cell(block: Block, formula: Counter[str] | None) -> float | None:
    """Number of atoms in the cell by formula and formula units; None where one is not stated.

    pymatgen writes 0 units for half of an O2, which states nothing.
    """
    units = number(block.get("_cell_formula_units_z") or "0", "_cell_formula_units_Z")
    return sum(formula.values()) * units if formula is not None and units > 0 else None


def _atom_counts(block: Block, formula: Counter[str] | None) -> set[float]:
    """Numbers of atoms in the cell that the file may mean.

    The multiplicities of its sites say it; without them the formula, of a unit or of the cell.
    """
    for tag in ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity"):
        column = block.column(tag)
        if column and all(text.isdecimal() for text in column):
            return {float(sum(map(int, column)))}
    whole = _per_cell(block, formula)
    return {whole, float(sum((formula or {}).values()))} if whole is not None else set()


def _check_formula(block: Block, formula: Counter[str] | None, numbers: list[int]) -> None:
    """Compare the atoms with the stated formula.

    The formula may be that of a unit, or of the whole cell beside its number of units, as pymatgen
    writes it.
    """
    if formula is None:
        return
    found = Counter(symbol_of(z) for z in numbers)
    ratios = [found[symbol] / count for symbol, count in formula.items()]
    units = len(numbers) / sum(formula.values())
    shown = " ".join(f"{symbol}{count}" for symbol, count in found.items())
    if set(found) != set(formula) or max(abs(r / units - 1) for r in ratios) > 0.01 or units < 0.99:
        raise ValueError(
            f"the file states the formula {block.get('_chemical_formula_sum')}, but its sites give "
            f"{shown}"
        )
    whole = _per_cell(block, formula)
    if whole is None:
        return
    per_unit = [count * sum(formula.values()) / whole for count in formula.values()]
    is_of_cell = abs(units - 1) < 0.01 and all(abs(n - round(n)) < 0.01 for n in per_unit)
    if abs(len(numbers) / whole - 1) > 0.01 and not is_of_cell:
        raise ValueError(
            f"the file states {whole:g} atoms in the cell (formula times Z), but its sites give "
            f"{shown}"
        )
