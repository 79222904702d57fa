"""Handedness of cells, steps of atoms and cells, and distances between two states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.data.crystal import Crystal


def right_handed(crystal: Crystal) -> Crystal:
    """Return the same crystal with a right-handed cell.

    Potentials that divide by the signed volume give a stress of the wrong sign in a left-handed
    cell, and a relaxation climbs.
    """
    if np.linalg.det(crystal.lattice) > 0:
        return crystal
    order = [0, 2, 1]
    return replace(
        crystal, lattice=crystal.lattice[order], frac_coords=crystal.frac_coords[:, order]
    )


def rms_moved(before: Crystal, after: Crystal) -> float:
    """Return the root-mean-square distance between two states of the same atoms, A.

    Fractional differences to the nearest image, without their common shift, times the mean cell.
    """
    shift = after.frac_coords - before.frac_coords
    shift -= np.round(shift)
    shift -= shift.mean(0)
    distance = shift @ ((before.lattice + after.lattice) / 2)
    return float(np.sqrt((distance**2).sum(1).mean()))


def stepped(
    crystal: Crystal, move: NDArray[np.float64], strain: NDArray[np.float64] | None
) -> Crystal:
    """Return a crystal after a step.

    The cell L becomes L exp(strain), which carries the atoms along; they move by ``move`` besides.

    Args:
        crystal: Where the step starts.
        move: Step of each atom, (N, 3), A.
        strain: Symmetric logarithm of the cell's deformation, (3, 3); None keeps the cell.
    """
    frac = crystal.frac_coords + move @ np.linalg.inv(crystal.lattice)
    lattice = crystal.lattice
    if strain is not None:
        values, vectors = np.linalg.eigh(strain)
        lattice = lattice @ ((vectors * np.exp(values)) @ vectors.T)
    return replace(crystal, lattice=lattice, frac_coords=frac)
