"""Data sets made of objects in memory."""

import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.core import DummySpecies, Lattice, Structure

from pyg_crysdiff.data import Crystal, CrystalDataset, property_of
from pyg_crysdiff.testing import assert_dataset
from tests.conftest import make_crystal


def salt(edge: float = 5.6) -> Structure:
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(edge), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def test_objects_of_three_libraries_make_one_data_set(rng):
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    mixed = [salt(), atoms, make_crystal(rng, 3)]
    data = CrystalDataset.from_crystals(mixed, {"gap": [8.5, None, 1.0], "e": np.arange(3)})
    assert_dataset(data, ["gap", "e"])
    assert isinstance(data, CrystalDataset)
    assert len(data) == 3
    assert data.property_names == data.targets == ["gap", "e"]
    assert data.property_name == "gap"
    assert [int(item.num_atoms) for item in data] == [8, 4, 3]
    values = [float(property_of(item, "gap")) for item in data]
    assert values[::2] == [8.5, 1.0]
    assert math.isnan(values[1])
    assert sorted(data[0].atomic_numbers.tolist()) == [11] * 4 + [17] * 4
    part = data.index_select([2, 0])
    assert [c.info["e"] for c in part.crystals()] == [2.0, 0.0]
    assert data[:2].crystals()[1].info["material_id"] == "1"
    assert data.copy([1]).crystals()[0].info["row"] == 1


def test_cells_follow_the_same_rules_as_those_of_files(rng):
    crystal = make_crystal(rng, 4)
    (reduced,) = CrystalDataset.from_crystals([crystal]).crystals()
    assert reduced.volume == pytest.approx(crystal.volume)
    a, b, c = reduced.parameters()[0]
    assert a <= b <= c
    # pymatgen's orientation, which cells of files have: a in the plane of x and z, c along z
    np.testing.assert_allclose(reduced.lattice[[0, 2, 2], [1, 0, 1]], 0, atol=1e-12)
    (given,) = CrystalDataset.from_crystals([crystal], niggli=False).crystals()
    np.testing.assert_allclose(given.parameters()[0], crystal.parameters()[0])
    sizes = [
        len(CrystalDataset.from_crystals([salt()], primitive=p)[0].atomic_numbers)
        for p in (False, True)
    ]
    assert sizes == [8, 2]


def test_properties_may_lie_in_the_objects():
    structures = [salt(5.5), salt(5.7)]
    for k, structure in enumerate(structures):
        structure.properties = {"gap": 8.0 + k, "material_id": f"salt-{k}", "row": 7, "note": "x"}
    atoms = Atoms("NaCl", cell=[4, 4, 4], scaled_positions=[[0, 0, 0], [0.5] * 3], pbc=True)
    atoms.info = {"energy": -1.5, "stress": np.zeros(6)}
    data = CrystalDataset.from_crystals([*structures, atoms])
    assert data.property_names == ["gap", "energy"]
    assert data.property_name == "gap"
    assert data.targets == ["gap"]
    assert data.left_out["row"] == "identifier or counter"
    assert [c.info["material_id"] for c in data.crystals()] == ["salt-0", "salt-1", "2"]
    assert data[1].material_id == "salt-1"
    assert "stress" not in data.crystals()[2].info
    named = CrystalDataset.from_crystals([*structures, atoms], ["energy", "gap"], target="gap")
    assert named.targets == ["energy", "gap"]
    assert named.property_name == "gap"
    single = CrystalDataset.from_crystals(structures, "gap", name="salts", split="all of them")
    assert single.targets == ["gap"]
    assert (single.display_name, single.split_description) == ("salts", "all of them")


def test_parts_at_random():
    data = CrystalDataset.from_crystals([salt(5 + 0.1 * k) for k in range(10)], {"k": range(10)})
    train, val, test = data.random_split((0.6, 0.2, 0.2), seed=3)
    assert [len(part) for part in (train, val, test)] == [6, 2, 2]
    seen = [c.info["k"] for part in (train, val, test) for c in part.crystals()]
    assert sorted(seen) == list(range(10))
    assert train.split_description == "random 60/20/20, seed 3"
    assert data.split_description == "as given"
    with pytest.raises(ValueError, match="add up to 1"):
        data.random_split((0.5, 0.1, 0.1))


def test_no_crystals_are_an_empty_validation_set():
    empty = CrystalDataset.from_crystals([], ["gap"])
    assert len(empty) == 0
    assert empty.property_names == ["gap"]
    assert empty.crystals() == []


def flat() -> Crystal:
    return Crystal(np.diag([1e-3, 400.0, 400.0]), np.zeros((1, 3)), [6])


def disordered() -> Structure:
    return Structure(Lattice.cubic(3), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (flat(), "too flat or too long"),
        (Crystal(np.eye(3) * 3, np.full((1, 3), np.nan), [6]), "not finite"),
        (Crystal(np.eye(3) * 3, np.zeros((0, 3)), []), "no atoms"),
        (Crystal(np.eye(3) * 3, np.zeros((1, 3)), [0]), "no element"),
        (disordered(), "disordered"),
        (Structure(Lattice.cubic(3), [DummySpecies("X")], [[0, 0, 0]]), "no element"),
        (Atoms("C", pbc=[True, True, False], cell=[3, 3, 3]), "not periodic"),
        (Atoms("C", pbc=True), "spans? no cell"),
        ("POSCAR", "str is no crystal"),
    ],
)
def test_bad_entries_are_named_with_the_reason(bad, reason):
    with pytest.raises(ValueError, match=rf"crystals\[1\].*{reason}"):
        CrystalDataset.from_crystals([salt(), bad])


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"gap": [1.0]}, "property 'gap': 1 values for 2 crystals"),
        ({"gap": [1.0, "wide"]}, r"crystals\[1\]: property 'gap' is 'wide', no number"),
        ({"gap": [math.inf, 1.0]}, r"crystals\[0\]: property 'gap' is inf"),
        (["gap"], r"no crystal has the properties \['gap'\]"),
    ],
)
def test_bad_properties_are_named(properties, message):
    with pytest.raises(ValueError, match=message):
        CrystalDataset.from_crystals([salt(), salt(5.7)], properties)
    with pytest.raises(ValueError, match="no property 'energy' to be the target"):
        CrystalDataset.from_crystals([salt()], {"gap": [1.0]}, target="energy")
