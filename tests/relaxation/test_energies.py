"""Energies from a user's file: formats, units, how structures are found, and errors."""

import json
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from pyg_crysdiff.data.crystal import BrokenEntry, Crystal
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.relaxation import read_energies
from tests.conftest import make_crystal


@pytest.fixture
def crystals(rng) -> list[Crystal | BrokenEntry]:
    made = [replace(make_crystal(rng, n), info={"id": f"a{n}"}) for n in (2, 3, 4)]
    return [made[0], BrokenEntry(1, "damaged"), *made[1:]]


def values(path, crystals, scheme="none"):
    return read_energies(path, crystals, scheme).values


def test_csv_by_index_and_by_id(crystals, tmp_path):
    file = tmp_path / "e.csv"
    file.write_text("index,energy_per_atom\n3,-1.5\n0,-2\n1,-9\n")
    expected = [-2, np.nan, np.nan, -1.5]
    assert np.array_equal(values(file, crystals), expected, equal_nan=True)
    file.write_text("id;energy_total\na4;-6\na2;-4\na3;\n")
    assert np.array_equal(values(file, crystals), expected, equal_nan=True)


def test_a_structure_of_other_atoms_than_its_index_names_is_refused(crystals, tmp_path):
    # the index is that of another file
    told = replace(crystals[2], info={"index": 0, "energy_per_atom": -1.0})
    write_extxyz([told], tmp_path / "e.extxyz")
    with pytest.raises(ValueError, match="names structure 0 and holds other atoms"):
        values(tmp_path / "e.extxyz", crystals)


def test_json_with_its_scheme_by_digest(crystals, tmp_path):
    file = tmp_path / "e.json"
    records = [
        {"digest": crystals[3].digest(), "energy_total": -6.0},
        {"index": 0, "energy_per_atom": -2},
    ]
    file.write_text(json.dumps({"scheme": "MP2020", "energies": records}))
    found = read_energies(file, crystals)
    assert np.array_equal(found.values, [-2, np.nan, np.nan, -1.5], equal_nan=True)
    assert found.scheme == "MP2020"
    assert found.source == str(file)
    with pytest.raises(ValueError, match="with 'MP2020', not 'none'"):
        read_energies(file, crystals, "none")


def test_extxyz_as_ase_writes_it_by_content(crystals, tmp_path):
    frames = []
    for crystal, energy in ((crystals[3], -6.0), (crystals[0], -4.0)):
        atoms = crystal.to_ase()
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        frames.append(atoms)
    ase.io.write(tmp_path / "e.extxyz", frames)
    found = values(tmp_path / "e.extxyz", crystals)
    assert np.allclose(found, [-2, np.nan, np.nan, -1.5], equal_nan=True)


def test_extxyz_of_this_package_by_content_and_index(crystals, tmp_path):
    file = tmp_path / "e.extxyz"
    write_extxyz([replace(crystals[2], info={"energy_per_atom": -3.0})], file)
    assert values(file, crystals)[2] == -3
    # An index is taken where the atoms are the same: cell and positions may be relaxed ones.
    relaxed = replace(crystals[0], lattice=1.1 * crystals[0].lattice)
    write_extxyz([replace(relaxed, info={"energy_per_atom": -3.0, "index": 0})], file)
    assert values(file, crystals)[0] == -3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,energy\n0,-1\n", "row 0 has no energy whose unit is known: name the energy"),
        ("index,energy_total,energy_per_atom\n0,-1,-1\n", "row 0 has two energies"),
        ("energy_total\n-1\n", "row 0 does not say which structure"),
        ("index,energy_total\n0,-1\n4,-1\n", "row 1: index must be a whole number from 0 to 3"),
        ("index,energy_total\n0,-1\n0,-1\n", "row 1: structure 0 has an energy in .*row 0 too"),
        ("index,energy_total\n0,low\n", "row 0: energy_total must be a number, got 'low'"),
        ("id,energy_total\nb,-1\n", "row 0: no structure has this id 'b'"),
        ("index,energy_total,scheme\n0,-1,MP2020\n2,-1,none\n", "several schemes: MP2020, none"),
        ("index,energy_total\n", "holds no energies"),
    ],
)
def test_errors_name_file_and_row(text, message, crystals, tmp_path):
    file = tmp_path / "e.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_energies(file, crystals, "none" if "scheme" not in text else None)
    assert str(file) in str(error.value)


def test_the_scheme_must_be_named(crystals, tmp_path):
    file = tmp_path / "e.csv"
    file.write_text("index,energy_total\n0,-1\n")
    with pytest.raises(ValueError, match="which corrections"):
        read_energies(file, crystals)
    with pytest.raises(FileNotFoundError, match="no file of energies"):
        read_energies(tmp_path / "none.csv", crystals)
    (tmp_path / "e.json").write_text('{"a": -1}')
    with pytest.raises(ValueError, match="JSON list of objects"):
        read_energies(tmp_path / "e.json", crystals)


def test_equal_structures_need_an_index(crystals, tmp_path):
    file = tmp_path / "e.extxyz"
    write_extxyz([replace(crystals[0], info={"energy_per_atom": -3.0})], file)
    with pytest.raises(ValueError, match="structure 0: 2 structures have this cell and atoms"):
        read_energies(file, [*crystals, crystals[0]], "none")
