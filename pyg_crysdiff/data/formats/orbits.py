"""The images of a site by symmetry operations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SAME_SITE = 0.05  # Angstrom: images of one site by two operations


def orbit(
    place: NDArray[np.float64],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    lattice: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the images (m, 3) of a site in [0, 1), each once.

    Images within 0.05 Angstrom are one: a coordinate on a symmetry element is often given with
    few digits.
    """
    images = rotations @ place + shifts
    images = images - np.floor(images)
    if len(images) == 1:
        return images
    apart = images[:, None] - images[None]
    distances = np.linalg.norm((apart - np.round(apart)) @ lattice, axis=-1)
    first = (distances < _SAME_SITE).argmax(axis=1)
    return images[first == np.arange(len(images))]
