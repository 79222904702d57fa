"""ASE's trajectories and databases: what is read, what is refused, and that nothing is executed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import read, write

from pyg_crysdiff.data import BrokenEntry, Crystal, load_dataset, read_crystals
from pyg_crysdiff.data.parsing import read_entries
from pyg_crysdiff.data.streams import stream_entries


def crystals():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    salt.info["gap"] = 5.0
    carbon = bulk("C", "diamond", a=3.57)
    carbon.calc = SinglePointCalculator(carbon, energy=-18.1, forces=np.zeros((2, 3)))
    return [salt, carbon]


@pytest.fixture(params=[".traj", ".db"])
def file(request, tmp_path):
    path = tmp_path / f"mine{request.param}"
    salt, carbon = crystals()
    if request.param == ".traj":
        write(path, [salt, carbon])
    else:
        with connect(path) as database:
            database.write(salt, gap=5.0)
            database.write(carbon, relaxed=True)
    return path


def test_every_frame_or_row_is_the_crystal_that_was_written(file):
    found = read_crystals(file)
    for crystal, atoms in zip(found, crystals(), strict=True):
        assert isinstance(crystal, Crystal)
        np.testing.assert_array_equal(crystal.lattice, atoms.cell.array)
        np.testing.assert_array_equal(crystal.atomic_numbers, atoms.numbers)
        np.testing.assert_allclose(crystal.frac_coords @ crystal.lattice, atoms.positions)


def test_numbers_beside_the_atoms_are_properties_with_gaps(file):
    entries, names = read_entries(file)
    assert set(names) == {"gap", "energy"}
    assert entries[0].properties["gap"] == 5.0
    assert np.isnan(entries[1].properties["gap"])
    assert entries[1].properties["energy"] == -18.1
    assert np.isnan(entries[0].properties["energy"])


def test_streams_and_readers_agree(file):
    assert [e.text for e in stream_entries(file)] == [e.text for e in read_entries(file).entries]


def test_a_model_can_be_trained_on_a_database(tmp_path):
    path = tmp_path / "salts.db"
    with connect(path) as database:
        for k in range(20):
            database.write(bulk("NaCl", "rocksalt", a=5.5 + 0.01 * k), gap=5.0 - 0.01 * k)
    train = load_dataset(path, "train", root=tmp_path / "cache")
    assert train.property_names == ["gap"]
    assert len(train) == 16


def test_molecules_slabs_and_disorder_stand_in_their_place_with_the_reason(tmp_path):
    path = tmp_path / "mixed.traj"
    disordered = bulk("KCl", "rocksalt", a=6.3)
    disordered.info["occupancy"] = {"0": {"Na": 0.5, "K": 0.5}, "1": {"Cl": 1.0}}
    ordered = bulk("KCl", "rocksalt", a=6.3)
    ordered.info["occupancy"] = {"0": {"K": 1.0}, "1": {"Cl": 1.0}}
    slab = bulk("C", "diamond", a=3.57)
    slab.pbc = (True, True, False)
    write(path, [Atoms("CO", [[0, 0, 0], [0, 0, 1.1]]), slab, disordered, ordered])
    molecule, flat, mixed, whole = read_crystals(path)
    assert isinstance(molecule, BrokenEntry)
    assert "not periodic" in molecule.reason
    assert isinstance(flat, BrokenEntry)
    assert "not periodic" in flat.reason
    assert isinstance(mixed, BrokenEntry)
    assert "disordered" in mixed.reason
    assert isinstance(whole, Crystal)
    assert "mixed.traj, entry 0" in molecule.source


class _Trap:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("suffix", [".traj", ".db"])
@pytest.mark.parametrize(
    "content", [b"", b"no such file", b"PickleTrajectory" + pickle.dumps(_Trap())]
)
def test_other_content_is_refused_by_name_and_not_executed(tmp_path, monkeypatch, suffix, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad{suffix} is no "):
        read_crystals(path)
    assert not (tmp_path / "executed").exists()


def test_a_damaged_file_is_refused_by_name(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 3])
    with pytest.raises(ValueError, match=f"{file.name} cannot be read"):
        read_crystals(file)


def test_reading_leaves_nothing_beside_the_file(file):
    before = sorted(file.parent.iterdir())
    assert len(read_crystals(file)) == 2
    assert sorted(file.parent.iterdir()) == before


def test_empty_files_are_refused(tmp_path):
    write(tmp_path / "none.traj", [])
    with connect(tmp_path / "none.db") as database:
        del database[database.write(bulk("Cu"))]
    for name in ("none.traj", "none.db"):
        with pytest.raises(ValueError, match=f"{name} is (empty|no)"):
            read_crystals(tmp_path / name)


def test_a_relaxation_is_read_frame_by_frame_as_ase_reads_it(tmp_path):
    path = tmp_path / "steps.traj"
    steps = [bulk("Cu", cubic=True, a=a) for a in (3.5, 3.55, 3.6)]
    write(path, steps)
    found = read_crystals(path)
    assert [c.volume for c in found] == pytest.approx([a.cell.volume for a in read(path, ":")])
