"""POSCAR files for VASP: the same crystal, species grouped, no file of an earlier list left."""

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.vasp import Poscar

from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.data.writers import crystal_to_poscar, write_poscars

ROCK = Crystal(
    np.array([[0, 2.9, 2.9], [2.9, 0, 2.9], [2.9, 2.9, 0]]) @ np.diag([1.0, 1.0, 1.1]),
    np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
    np.array([11, 17]),
)


def mixed(rng):
    """A crystal whose species alternate, in a left-handed cell."""
    lattice = np.diag([4.0, 5.0, -6.0]) + rng.normal(scale=0.1, size=(3, 3))
    return Crystal(lattice, rng.random((6, 3)), np.array([17, 11, 8, 17, 11, 8]))


def test_species_stand_together_and_the_crystal_is_the_same(rng):
    crystal = mixed(rng)
    poscar = Poscar.from_str(crystal_to_poscar(crystal))
    assert poscar.site_symbols == ["Cl", "Na", "O"]  # one group and one POTCAR for each
    assert poscar.natoms == [2, 2, 2]
    assert np.linalg.det(poscar.structure.lattice.matrix) > 0
    assert StructureMatcher(ltol=1e-6, stol=1e-6, angle_tol=1e-4).fit(
        poscar.structure, crystal.to_structure()
    )


def test_atoms_keep_their_order_where_they_are_not_grouped(rng):
    crystal = mixed(rng)
    poscar = Poscar.from_str(crystal_to_poscar(crystal, "mine", group=False))
    assert poscar.comment == "mine"
    assert list(poscar.structure.atomic_numbers) == list(crystal.atomic_numbers)


def test_written_files_are_read_back_in_order(tmp_path, rng):
    crystals = [mixed(rng), ROCK]
    write_poscars(crystals, tmp_path)
    found = read_crystals(tmp_path / "poscar")
    assert [sorted(c.atomic_numbers) for c in found] == [sorted(c.atomic_numbers) for c in crystals]
    assert [c.volume for c in found] == pytest.approx([c.volume for c in crystals])


def test_a_shorter_list_leaves_no_file_of_the_longer_one(tmp_path, rng):
    write_poscars([mixed(rng)] * 3, tmp_path)
    (tmp_path / "poscar" / "notes.txt").write_text("mine")
    write_poscars([ROCK], tmp_path)
    assert sorted(p.name for p in (tmp_path / "poscar").iterdir()) == ["00000.vasp", "notes.txt"]
    write_poscars([], tmp_path)
    assert [p.name for p in (tmp_path / "poscar").iterdir()] == ["notes.txt"]


def test_what_is_no_structure_keeps_its_place_with_a_comment(tmp_path):
    broken = Crystal(np.full((3, 3), np.nan), np.zeros((1, 3)), np.array([6]))
    write_poscars([broken, ROCK], tmp_path)
    assert "not a structure" in (tmp_path / "poscar" / "00000.vasp").read_text()
    assert (tmp_path / "poscar" / "00001.vasp").read_text().splitlines()[5].split() == ["Na", "Cl"]
