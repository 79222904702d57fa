"""The one in-memory form of a crystal that every part of the package exchanges.

A crystal is M = (lattice, fractional coordinates, species). Lattices are **rows**
(``x = f @ lattice``), lengths are in Angstrom, atomic numbers are 1-based.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from pyg_crysdiff.data.properties import set_properties

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import ArrayLike, NDArray
    from pymatgen.core import IStructure, Structure
    from torch_geometric.data import Data


CrystalLike: TypeAlias = "Crystal | IStructure | Atoms"
_MOST_POINTS = 1e6


@dataclass(frozen=True, eq=False)
class Crystal:
    """A crystal as plain float64 arrays, without any check of its physics.

    Generated crystals may be unphysical (NaN, zero volume); such a crystal can still be
    held, written and counted as invalid, which pymatgen's ``Structure`` does not allow.

    Attributes:
        lattice: Lattice vectors as rows, shape (3, 3), Angstrom.
        frac_coords: Fractional coordinates, shape (N, 3).
        atomic_numbers: Atomic numbers, shape (N,).
        info: Properties and provenance (identifier, seed, target value ...), JSON-able.
    """

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    atomic_numbers: NDArray[np.int64]
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lattice = np.asarray(self.lattice, dtype=np.float64).reshape(3, 3)
        frac = np.asarray(self.frac_coords, dtype=np.float64).reshape(-1, 3)
        numbers = np.asarray(self.atomic_numbers, dtype=np.int64).reshape(-1)
        if len(frac) != len(numbers):
            raise ValueError(f"{len(frac)} fractional coordinates but {len(numbers)} species")
        object.__setattr__(self, "lattice", lattice)
        object.__setattr__(self, "frac_coords", frac)
        object.__setattr__(self, "atomic_numbers", numbers)

    def __len__(self) -> int:
        return len(self.atomic_numbers)

    @classmethod
    def from_parameters(
        cls,
        lengths: ArrayLike,
        angles: ArrayLike,
        frac_coords: ArrayLike,
        atomic_numbers: ArrayLike,
        info: dict[str, Any] | None = None,
    ) -> Crystal:
        """Build a crystal from lengths (Angstrom) and angles (degrees), in pymatgen's orientation.

        Raises:
            ValueError: If the six parameters do not span a cell.
        """
        from pymatgen.core import Lattice  # noqa: PLC0415

        six = np.concatenate([np.asarray(lengths, float), np.asarray(angles, float)])
        matrix = Lattice.from_parameters(*six.tolist()).matrix
        return cls(matrix, np.asarray(frac_coords), np.asarray(atomic_numbers), info or {})

    @classmethod
    def from_structure(cls, structure: IStructure, info: dict[str, Any] | None = None) -> Crystal:
        """Convert an ordered pymatgen ``Structure``.

        Raises:
            ValueError: If a site is partially occupied, holds several species or a dummy.
        """
        from pymatgen.core import DummySpecies  # noqa: PLC0415

        if not structure.is_ordered:
            raise ValueError(f"structure {structure.formula} is disordered")
        for site in structure:
            if isinstance(site.specie, DummySpecies):
                raise ValueError(f"{site.specie.symbol!r} is no element (a dummy or a vacancy)")
        numbers = np.array([site.specie.Z for site in structure])
        return cls(structure.lattice.matrix.copy(), structure.frac_coords, numbers, info or {})

    @classmethod
    def from_ase(cls, atoms: Atoms, info: dict[str, Any] | None = None) -> Crystal:
        """Convert ASE ``Atoms`` that are periodic in three dimensions.

        Raises:
            ValueError: If a direction is not periodic, or the cell has no volume.
        """
        if not all(atoms.pbc):
            raise ValueError("not periodic in three dimensions (pbc)")
        if atoms.cell.rank < 3:
            raise ValueError("the lattice is flat: its three vectors span no cell")
        frac = atoms.get_scaled_positions(wrap=False)
        return cls(atoms.cell.array.copy(), frac, atoms.numbers, info or {})

    @classmethod
    def from_data(cls, data: Data, info: dict[str, Any] | None = None) -> Crystal:
        """Convert one PyG ``Data`` of the datasets of this package."""
        return cls(
            data.lattice.detach().cpu().double().numpy(),
            data.frac_coords.detach().cpu().double().numpy(),
            data.atomic_numbers.detach().cpu().numpy(),
            info or {},
        )

    def to_data(self, properties: Mapping[str, float] | None = None, /, **more: float) -> Data:
        """Convert to PyG ``Data`` (see :class:`pyg_crysdiff.data.dataset.CrystalDataset`).

        Args:
            properties: Scalar properties, name to value; NaN where it is not known.
            **more: The same, where the names are Python's.
        """
        from torch_geometric.data import Data  # noqa: PLC0415  (takes seconds to import)

        dtype = torch.get_default_dtype()
        data = Data(
            atomic_numbers=torch.from_numpy(self.atomic_numbers.copy()),
            frac_coords=torch.from_numpy(self.frac_coords % 1.0).to(dtype) % 1.0,
            lattice=torch.from_numpy(self.lattice.copy()).to(dtype).unsqueeze(0),
            num_atoms=torch.tensor([len(self)]),
            num_nodes=len(self),
        )
        return set_properties(data, {**(properties or {}), **more})

    def to_structure(self) -> Structure:
        """Convert to a pymatgen ``Structure``.

        Raises:
            ValueError: If pymatgen refuses the cell or a species.
        """
        from pymatgen.core import Lattice, Structure  # noqa: PLC0415

        return Structure(Lattice(self.lattice), self.atomic_numbers.tolist(), self.frac_coords)

    def to_ase(self) -> Atoms:
        """Convert to ASE ``Atoms`` with ``info`` copied."""
        from ase import Atoms  # noqa: PLC0415

        # ASE takes scaled positions in cells of three vectors that are not zero only.
        with np.errstate(invalid="ignore", over="ignore"):
            positions = self.frac_coords @ self.lattice
        return Atoms(
            numbers=self.atomic_numbers,
            cell=self.lattice,
            positions=positions,
            pbc=True,
            info=dict(self.info),
        )

    def oriented(self) -> Crystal:
        """Return the same crystal as it is written: right-handed, in one orientation.

        a lies along x, b in the xy plane with positive y, c has a positive z; fractional
        coordinates lie in [0, 1); the order of atoms and ``info`` stay. The cell of equal lengths
        and angles would make the mirror image of a left-handed crystal, its enantiomer; instead
        the three vectors and all coordinates change sign, which moves no atom, before the cell is
        turned. What is not finite stays as it is.
        """
        lattice, frac = self.lattice, self.frac_coords
        if np.isfinite(lattice).all() and not _is_oriented(lattice):
            q, r = np.linalg.qr(lattice.T)
            signs = np.where(np.diag(r) < 0, -1.0, 1.0)
            lattice = np.ascontiguousarray((signs[:, None] * r).T)
            if np.linalg.det(q * signs) < 0:
                frac = -frac
        with np.errstate(invalid="ignore"):
            # Of a tiny negative number the first remainder is 1.
            frac = np.where(np.isfinite(frac), frac % 1.0 % 1.0, frac)
        return Crystal(lattice, frac, self.atomic_numbers, self.info)

    def parameters(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lengths (3,) in Angstrom and angles (3,) in degrees."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            lengths = np.linalg.norm(self.lattice, axis=1)
            unit = self.lattice / lengths[:, None]
            cosines = np.array([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
        return lengths, np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))

    @property
    def is_finite(self) -> bool:
        """Whether every number of the cell and the coordinates is finite."""
        return bool(np.isfinite(self.lattice).all() and np.isfinite(self.frac_coords).all())

    @property
    def reducible(self) -> bool:
        """Whether cell reduction ends within seconds.

        pymatgen lists the lattice points in a sphere of the longest vector's length. More than a
        million mean a cell hundreds of times longer than wide, which is no crystal, but may come
        out of a model or a damaged file.
        """
        longest = float(np.linalg.norm(self.lattice, axis=1).max())
        return bool(4.19 * longest**3 <= _MOST_POINTS * self.volume)

    def digest(self) -> str:
        """Return the SHA-256 of lattice, coordinates and species, to the last bit, as hex."""
        digest = hashlib.sha256()
        for array in (self.lattice, self.frac_coords, self.atomic_numbers):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def volume(self) -> float:
        """Unsigned cell volume in cubic Angstrom."""
        with np.errstate(invalid="ignore"):
            return float(abs(np.linalg.det(self.lattice)))


def as_crystal(entry: CrystalLike) -> Crystal:
    """Return a crystal from an object of this package, of pymatgen or of ASE.

    Args:
        entry: :class:`Crystal`, which is returned as it is; pymatgen ``Structure``; ASE ``Atoms``.
            Numbers and texts in the ``properties`` or ``info`` of the latter become ``info``.

    Raises:
        TypeError: If it is an object of another kind.
        ValueError: If it is no ordered crystal that is periodic in three dimensions.
    """
    if isinstance(entry, Crystal):
        return entry
    from ase import Atoms  # noqa: PLC0415
    from pymatgen.core import IStructure  # noqa: PLC0415

    if isinstance(entry, IStructure):
        return Crystal.from_structure(entry, _plain(entry.properties))
    if isinstance(entry, Atoms):
        return Crystal.from_ase(entry, _plain(entry.info))
    raise TypeError(
        f"{type(entry).__name__} is no crystal: give a Crystal, a pymatgen Structure or ASE Atoms"
    )


def _plain(info: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what can be written as JSON of somebody's facts about a crystal."""
    single = {
        str(name): value.item() if isinstance(value, np.generic) else value
        for name, value in info.items()
    }
    return {name: x for name, x in single.items() if isinstance(x, str | int | float)}


def _is_oriented(lattice: NDArray[np.float64]) -> bool:
    above = lattice[np.triu_indices(3, 1)]
    return bool((above == 0).all() and (np.diag(lattice) > 0).all())


@dataclass(frozen=True)
class BrokenEntry:
    """An entry of a file that could not be read as a crystal.

    Attributes:
        index: Position of the entry in its file, from 0.
        reason: What is wrong with it, in one line.
        source: File (and row, where there is one) that it came from.
    """

    index: int
    reason: str
    source: str = ""
