"""Many cells against one, by a C kernel that has pymatgen's verdicts; what it leaves open is asked.

``native/matching.c`` takes the decisions of ``StructureMatcher`` for all those pairs that rounding
does not decide. The others are open. Where there is no compiler, or ``CRYSDIFF_NATIVE=0`` is set,
all are open, and every pair goes to pymatgen.
"""

from __future__ import annotations

import ctypes
import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyg_crysdiff.compiling import compile_library, kernel_is_right, kernels_wanted
from pyg_crysdiff.data.crystal import Crystal

NO, YES, OPEN = 0, 1, 2
_SOURCES = ("matching.c", "lattices.inc", "sites.inc")
# No -ffast-math: the kernel knows how far rounding may go, and tells NaN from numbers.
_FLAGS = ("-std=c11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math")


@dataclass(frozen=True)
class PackedCells:
    """Cells of equal content as arrays, atoms sorted by element.

    Attributes:
        lattices: Lattice vectors as rows, scaled to volume 1, (M, 3, 3).
        frac_coords: (M, N, 3).
        numbers: Atomic numbers of all of them, ascending, (N,).
        anchors: The first atom of the rarest element of each, (M,): which of several equally rare
            ones is decided by the order of its atoms.
    """

    lattices: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    numbers: NDArray[np.int64]
    anchors: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lattices)

    @functools.cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each element begins among the atoms, and N."""
        return np.append(np.flatnonzero(np.diff(self.numbers, prepend=-1)), len(self.numbers))

    @classmethod
    def of(
        cls, lattice: NDArray[np.float64], frac_coords: NDArray[np.float64], numbers: NDArray
    ) -> PackedCells:
        """Pack one cell.

        Args:
            lattice: Lattice vectors as rows, (3, 3).
            frac_coords: (N, 3).
            numbers: Atomic numbers, (N,).
        """
        order = np.argsort(numbers, kind="stable")
        rarest = np.bincount(numbers)[numbers].argmin()  # of equally rare ones the first
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = lattice / abs(np.linalg.det(lattice)) ** (1 / 3)
        return cls(
            scaled[None],
            frac_coords[order][None],
            numbers[order].astype(np.int64, copy=False),
            np.flatnonzero(order == rarest),
        )

    @classmethod
    def join(cls, packs: Sequence[PackedCells]) -> PackedCells:
        """Join cells of equal content.

        Raises:
            ValueError: If their contents differ.
        """
        numbers = packs[0].numbers
        if any(not np.array_equal(pack.numbers, numbers) for pack in packs):
            raise ValueError("cells of different content cannot be compared")
        return cls(
            np.concatenate([pack.lattices for pack in packs]),
            np.concatenate([pack.frac_coords for pack in packs]),
            numbers,
            np.concatenate([pack.anchors for pack in packs]),
        )


def compare_cells(
    known: PackedCells,
    which: NDArray[np.int64],
    cell: PackedCells,
    tolerances: tuple[float, float, float],
    *,
    stop_at_first: bool = False,
    want_rms: bool = False,
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Compare known cells, as the first of each pair, with one cell of the same content.

    Args:
        known: The known cells.
        which: Those of them to compare, in order, (K,).
        cell: One cell.
        tolerances: ltol, stol and angle_tol in degrees, as ``StructureMatcher`` has them.
        stop_at_first: Compare none after the first that matches.
        want_rms: Ask for the RMS displacement, as ``get_rms_dist``, and not whether they fit.

    Returns:
        NO, YES or OPEN for each that was compared, up to (K,), and their RMS displacements in
        (V / N)^(1/3) where they were asked for and the verdict is YES.
    """
    if len(which) and kernels_wanted() and kernel_agrees():
        return _asked(known, which, cell, tolerances, stop_at_first, want_rms)
    return np.full(len(which), OPEN, dtype=np.int8), np.full(len(which), np.nan)


def _asked(
    known: PackedCells,
    which: NDArray[np.int64],
    cell: PackedCells,
    tolerances: tuple[float, float, float],
    stop_at_first: bool,
    want_rms: bool,
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    library = load_library()
    assert library is not None
    verdicts = np.empty(len(which), dtype=np.int8)
    rms = np.empty(len(which))
    starts = cell.starts
    done = library.match_cells(
        len(which), _of(which), _of(known.lattices), _of(known.frac_coords), len(cell.numbers),
        len(starts) - 1, _of(starts), _of(cell.lattices), _of(cell.frac_coords),
        int(cell.anchors[0]), *tolerances, int(stop_at_first), int(want_rms), _of(verdicts),
        _of(rms),
    )  # fmt: skip
    if done < 0:
        raise MemoryError("no memory to compare cells of so many atoms")
    return verdicts[:done], rms[:done]


def _of(array: NDArray) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """Return the compiled kernel, or None where it cannot be had."""
    library = compile_library(
        [Path(__file__).parent / "native" / name for name in _SOURCES], _FLAGS
    )
    if library is not None:
        whole, place, number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
        library.match_cells.argtypes = [
            whole, place, place, place, whole, whole, place, place, place, whole,
            number, number, number, whole, whole, place, place,
        ]  # fmt: skip
        library.match_cells.restype = whole
    return library


@functools.cache
def kernel_agrees() -> bool:
    """Return whether there is a kernel and pymatgen, as installed, says the same of a few cells."""
    return kernel_is_right(load_library(), _agrees, "matching", "pymatgen")


def _agrees() -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher  # noqa: PLC0415

    rng = np.random.default_rng(0)
    lattice = 4 * (np.eye(3) + rng.normal(0, 0.1, (3, 3)))
    first, numbers = rng.random((4, 3)), np.array([11, 17, 8, 8])
    compare = StructureMatcher(0.2, 0.3, 5, primitive_cell=False)
    a = PackedCells.of(lattice, first, numbers)
    for size in (0.02, 0.08, 0.1, 0.12, 0.2):
        bent = lattice @ (np.eye(3) + rng.normal(0, size / 3, (3, 3)))
        second = first + rng.normal(0, size, first.shape)
        one, other = (
            Crystal(*x, numbers).to_structure() for x in ((lattice, first), (bent, second))
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = compare.fit(one, other, skip_structure_reduction=True)
        b = PackedCells.of(bent, second, numbers)
        found = _asked(a, np.zeros(1, np.int64), b, (0.2, 0.3, 5.0), False, False)[0][0]
        if found != (YES if expected else NO):
            return False
    return True
