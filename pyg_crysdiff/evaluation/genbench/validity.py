"""GenBench's three checks of one crystal: charge, distances, plausibility."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.distribution import density, reduced_formula
from pyg_crysdiff.evaluation.genbench.oxidation import balanced, valences_possible
from pyg_crysdiff.evaluation.genbench.tables import ElementTables, atomic_radii
from pyg_crysdiff.evaluation.validity import pair_distances

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

MOST_DENSE = 0.5  # atoms per cubic Angstrom
_LEAST_DENSE = 1e-5
_MASS_DENSITY = (0.01, 25.0)  # g/cm^3
_LENGTHS = (1.0, 100.0)  # Angstrom
_SMALLEST_VOLUME = 1.0  # cubic Angstrom
_METALLIC = 0.7
_ZERO = 1e-15


def charge_neutral(
    crystal: Crystal, tables: ElementTables, symmetry: SpacegroupAnalyzer | None = None
) -> bool:
    """Whether a crystal can be charge neutral by one of four ways.

    1. A metal: smact's metallicity score of its composition is above 0.7.
    2. Oxidation states of its composition add up to zero (:func:`balanced`).
    3. Its bond valences are all zero: no atom has a nearest neighbour of another element where
       one of the two is a non-metal.
    4. pymatgen's ``BVAnalyzer`` assigns valences that add up to zero.

    Source: ``ChargeNeutralityMetric`` of LeMat-GenBench (arXiv 2512.04562). It asks 1, 3, 4, 2 in
    this order; the verdict is the same, and 4 is slow. Where it stops with an error in 4 it counts
    a crystal as charged that 2 finds neutral. In cells of more than 0.5 atoms per cubic Angstrom,
    which are not plausible anyway, 3 and 4 are not asked here.

    Args:
        crystal: A crystal of known elements with finite numbers.
        tables: Usual oxidation states.
        symmetry: Analyser of this crystal (symprec 0.01), if one is at hand.
    """
    numbers = crystal.atomic_numbers.tolist()
    if metallicity(reduced_formula(crystal)) > _METALLIC or balanced(
        numbers, tables.oxidation_states
    ):
        return True
    if len(crystal) > MOST_DENSE * crystal.volume:
        return False
    structure = crystal.to_structure()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _no_bond_valence(structure, symmetry) or _valences_balance(structure)


@lru_cache(maxsize=50_000)
def metallicity(formula: str) -> float:
    """Return smact's metallicity score of a formula, 0 to 1; NaN where it has none."""
    from smact.metallicity import metallicity_score  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(metallicity_score(formula))
        except Exception:  # elements beyond its tables, in several ways
            return float("nan")


def _no_bond_valence(structure: Structure, symmetry: SpacegroupAnalyzer | None) -> bool:
    """Whether the bond valence of every inequivalent site is zero; False where it has none."""
    from pymatgen.analysis.bond_valence import calculate_bv_sum  # noqa: PLC0415
    from pymatgen.analysis.local_env import MinimumDistanceNN  # noqa: PLC0415

    try:
        symmetry = symmetry or analyser(structure)
        nearest = MinimumDistanceNN(tol=0.1, cutoff=10)
        sites = [same[0] for same in symmetry.get_symmetrized_structure().equivalent_indices]
        return all(
            abs(calculate_bv_sum(structure[k], nearest.get_nn(structure, k))) < _ZERO for k in sites
        )
    except Exception:  # no symmetry found, no neighbour, elements without parameters
        return False


def _valences_balance(structure: Structure) -> bool:
    from pymatgen.analysis.bond_valence import BVAnalyzer  # noqa: PLC0415

    if not valences_possible(structure.atomic_numbers):
        return False
    try:
        return abs(sum(BVAnalyzer().get_valences(structure))) <= 0.1
    except Exception:  # ValueError where none fits; others in unusual cells
        return False


def analyser(structure: Structure) -> SpacegroupAnalyzer:
    """Return pymatgen's symmetry analyser with GenBench's tolerances: 0.01 A and 5 degrees."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer  # noqa: PLC0415

    return SpacegroupAnalyzer(structure)


def distances_ok(crystal: Crystal) -> bool:
    """Whether no two atoms are closer than half of (0.7 A + their atomic radii).

    An atom and its own images are not compared, so one atom per cell always passes, and a
    supercell may fail where its cell passes.

    Source: ``MinimumInteratomicDistanceMetric`` of LeMat-GenBench. It calls the 0.5 a factor of
    the radii; the 0.7 A that its code adds is not in its description.
    """
    if len(crystal) == 1:
        return True
    radii = atomic_radii()[crystal.atomic_numbers]
    least = 0.5 * (0.7 + radii[:, None] + radii[None, :])
    return bool((pair_distances(crystal) >= least).all())


def plausible(crystal: Crystal, group: int) -> bool:
    """Whether density, cell and symmetry are those of a crystal.

    Mass density 0.01 to 25 g/cm^3, atoms 1e-5 to 0.5 per cubic Angstrom, volume above 1 cubic
    Angstrom, lengths 1 to 100 Angstrom, angles between 0 and 180 degrees, and a space group that
    spglib finds.

    Source: ``PhysicalPlausibilityMetric`` of LeMat-GenBench. Its check of the format, whether a
    CIF can be written, is left out: no crystal that passes the others fails it.

    Args:
        crystal: A crystal.
        group: Its space group at a tolerance of 0.01 Angstrom, 0 where none was found.
    """
    lengths, angles = crystal.parameters()
    low, high = _MASS_DENSITY
    shortest, longest = _LENGTHS
    atoms = len(crystal) / crystal.volume if crystal.volume > 0 else np.inf
    return bool(
        low <= density(crystal) <= high
        and _LEAST_DENSE <= atoms <= MOST_DENSE
        and crystal.volume > _SMALLEST_VOLUME
        and ((lengths >= shortest) & (lengths <= longest)).all()
        and ((angles > 0) & (angles < 180)).all()
        and group > 0
    )
