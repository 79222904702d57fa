"""A crystal in few bytes, to the last bit.

The numbers are kept in double precision: a match may hang on the last digits, and the verdict on
a crystal out of the database must be that on the crystal itself. zlib takes off a third.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyg_crysdiff.data.crystal import Crystal

_LATTICE = 9 * 8
_ATOM = 3 * 8 + 1


def pack(lattice: ArrayLike, frac_coords: ArrayLike, atomic_numbers: ArrayLike) -> bytes:
    """Return lattice (3, 3), coordinates (N, 3) and atomic numbers (N,) as compressed bytes.

    Raises:
        ValueError: If an atomic number does not fit a byte.
    """
    numbers = np.asarray(atomic_numbers)
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < 256):
        raise ValueError("an atomic number is no element's")
    return zlib.compress(
        np.asarray(lattice, "<f8").tobytes()
        + np.asarray(frac_coords, "<f8").tobytes()
        + numbers.astype("u1").tobytes()
    )


def unpack(packed: bytes) -> Crystal:
    """Return what :func:`pack` packed.

    Raises:
        ValueError: If the bytes are damaged.
    """
    try:
        data = zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(f"a packed crystal is damaged ({error})") from error
    count, rest = divmod(len(data) - _LATTICE, _ATOM)
    if count < 0 or rest:
        raise ValueError("a packed crystal is damaged (its length is none of a crystal)")
    numbers: NDArray = np.frombuffer(data, "<f8", count=9 + 3 * count)
    species = np.frombuffer(data, "u1", offset=_LATTICE + 24 * count)
    return Crystal(numbers[:9], numbers[9:], species)
