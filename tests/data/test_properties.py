"""Properties of any name, with gaps, and which of them is the target."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.loader import DataLoader

from pyg_crysdiff.data import CrystalDataset, property_of, set_properties
from pyg_crysdiff.data.properties import describe_use, with_value
from pyg_crysdiff.data.writers import crystal_to_cif
from pyg_crysdiff.training.resident import ResidentBatches
from tests.conftest import make_crystal

NAMES = [
    "refractive_index", "index", "face", "batch_yield", "batch", "lattice", "frac_coords",
    "num_atoms", "num_nodes", "y", "ptr", "edge_index", "material_id", "row", "properties",
    "property_names", "self", "x.y", "forward", "E form (eV/atom)", "Δμ",
]  # fmt: skip


def write_table(path, rng, count, **columns):
    crystals = [make_crystal(rng, int(rng.integers(2, 6))) for _ in range(count)]
    frame = pd.DataFrame({"cif": [crystal_to_cif(c) for c in crystals], **columns})
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def every_name(tmp_path_factory):
    """A data set whose columns have all the names, and what stands in its table."""
    folder, rng = tmp_path_factory.mktemp("names"), np.random.default_rng(0)
    values = {name: 10.0 * k + rng.random(12) for k, name in enumerate(NAMES)}
    path = write_table(folder / "names.csv", rng, 12, **values)
    dataset = CrystalDataset(
        folder / "c", "all", path=path, properties=NAMES, cif_column="cif", num_workers=0
    )
    return dataset, {
        name: torch.tensor(column, dtype=torch.float32) for name, column in values.items()
    }


def test_every_way_to_a_batch_keeps_the_values_of_the_table(every_name, tmp_path):
    dataset, table = every_name
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    InMemoryDataset.save([dataset[k] for k in range(12)], tmp_path / "kept.pt")
    loaded = InMemoryDataset()
    loaded.load(tmp_path / "kept.pt")
    some, both = dataset.index_select([7, 3, 5]), [*range(12), 7, 3, 5]
    ways = {
        "loader": (next(iter(DataLoader(dataset, batch_size=12))), torch.arange(12)),
        "resident": (next(iter(ResidentBatches(dataset, 12, order.tolist()))), order),
        "list": (Batch.from_data_list([dataset[int(k)] for k in order]), order),
        "saved": (next(iter(DataLoader(loaded, batch_size=12))), torch.arange(12)),
        "selected": (next(iter(DataLoader(some, batch_size=3))), torch.tensor([7, 3, 5])),
        "copied": (next(iter(DataLoader(some.copy(), batch_size=3))), torch.tensor([7, 3, 5])),
        "added": (next(iter(DataLoader(dataset + some, batch_size=15))), torch.tensor(both)),
    }
    for way, (batch, rows) in ways.items():
        for name, column in table.items():
            assert property_of(batch, name).equal(column[rows]), (way, name)
        sizes = torch.tensor([len(dataset.crystals()[k]) for k in rows.tolist()])
        assert batch.num_atoms.equal(sizes), way
        assert batch.lattice.shape == (len(rows), 3, 3), way
        assert [int(row) for row in batch.row] == rows.tolist() or way == "resident"
    assert [c.digest() for c in some.copy().crystals()] == [c.digest() for c in some.crystals()]


def test_no_name_of_a_column_is_a_key_and_crystals_hold_their_values(every_name):
    dataset, table = every_name
    assert set(dataset[0].keys()) == {
        "atomic_numbers", "frac_coords", "lattice", "num_atoms", "num_nodes", "properties",
        "property_names", "material_id", "row",
    }  # fmt: skip
    assert int(dataset[4].row) == 4
    for name, column in table.items():
        held = [c.info[name] for c in dataset.crystals()]
        assert torch.tensor(held, dtype=torch.float32).equal(column)


def test_a_column_called_row_does_not_move_crystals_between_splits(tmp_path):
    rng = np.random.default_rng(0)
    path = write_table(tmp_path / "r.csv", rng, 10, row=np.arange(10)[::-1] / 4)
    parts = [
        CrystalDataset(tmp_path / "c", s, path=path, properties=["row"], num_workers=0)
        for s in ("train", "val", "test")
    ]
    rows = [int(d.row) for part in parts for d in part]
    assert sorted(rows) == list(range(10))
    for part in parts:
        for data in part:
            assert float(property_of(data, "row")) == (9 - int(data.row)) / 4


def test_sets_with_other_properties_do_not_go_together(tmp_path, rng):
    path = write_table(tmp_path / "two.csv", rng, 6, a=rng.random(6), b=rng.random(6))
    one, other = (
        CrystalDataset(tmp_path / "c", "all", path=path, properties=[n], num_workers=0)
        for n in ("a", "b")
    )
    with pytest.raises(ValueError, match=r"\['a'\].*\['b'\]"):
        one + other
    with pytest.raises(ValueError, match=r"\['a'\].*\['b'\]"):
        ResidentBatches([one[0], other[0]], 2, [0, 1])
    with pytest.raises(ValueError, match=r"\['a'\].*\['b'\]"):
        property_of(Batch.from_data_list([one[0], other[0]]), "a")


def test_data_of_ones_own_may_carry_a_property_under_a_name_that_pyg_leaves_alone():
    plain = [Data(energy=torch.tensor([x]), num_nodes=1) for x in (1.0, 2.0)]
    assert property_of(Batch.from_data_list(plain), "energy").tolist() == [1.0, 2.0]
    for name in ("refractive_index", "batch_yield", "lattice", "face"):
        shifted = [Data(**{name: torch.tensor([[1.0]])}, num_nodes=1) for _ in range(2)]
        with pytest.raises(ValueError, match="set_properties"):
            property_of(Batch.from_data_list(shifted), name)
    with pytest.raises(KeyError, match="no property 'gap'"):
        property_of(plain[0], "gap")
    given = Batch.from_data_list(
        [set_properties(d, {"edge_index": k}) for k, d in enumerate(plain)]
    )
    assert property_of(given, "edge_index").tolist() == [0.0, 1.0]
    with pytest.raises(KeyError, match=r"no property 'energy'.*edge_index"):
        property_of(given, "energy")


def test_a_gap_stays_one_and_the_crystal_is_kept(tmp_path, rng):
    gaps = [0.5, None, 1.5, None, 2.5, 3.5]
    path = write_table(tmp_path / "gaps.csv", rng, 6, band_gap=gaps, full=rng.random(6))
    dataset = CrystalDataset(tmp_path / "c", "all", path=path, num_workers=0)
    again = CrystalDataset(tmp_path / "c", "all", path=path, num_workers=0)  # from the cache
    for found in (dataset, again):
        assert len(found) == 6
        assert found.property_names == ["band_gap", "full"]
        values = property_of(next(iter(DataLoader(found, batch_size=6))), "band_gap")
        assert values.isnan().tolist() == [x is None for x in gaps]
        assert [c.info["band_gap"] for c in with_value(found.crystals(), "band_gap")] == [
            x for x in gaps if x is not None
        ]
    line = describe_use(dataset, dataset.targets, "conditioned on", "their condition is hidden")
    assert line == (
        "conditioned on band_gap (2 of 6 without a value: their condition is hidden); left out: "
        "full (not asked for), cif (structure)"
    )


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        ({"index": range(6), "num_atoms": [3] * 6, "gap": [1, 0, 2, 2, 5, 1]}, "gap"),
        ({"nsites": [4, 2, 3, 4, 5, 2], "mp_id": [4, 9, 2, 1, 7, 3], "e": [0.1] * 5 + [1]}, "e"),
        ({"k": range(100, 106), "e": [0.3, 0.1, 0.5, 0.2, 0.4, 0.1]}, "e"),
        ({"fold": [0, 1, 2, 0, 1, 2], "source": list("abcdef")}, None),
        ({"e": range(6)}, "e"),  # nothing else is left
    ],
)
def test_labels_and_counts_are_no_targets_unless_named(tmp_path, rng, columns, target):
    path = write_table(tmp_path / "t.csv", rng, 6, **columns)
    dataset = CrystalDataset(tmp_path / "c", "all", path=path, num_workers=0)
    assert dataset.property_name == target
    assert dataset.targets == ([] if target is None else [target])
    line = describe_use(dataset, dataset.targets, "conditioned on", "hidden")
    assert line.startswith(f"conditioned on {target or 'no property'}")
    for name in set(columns) - {target}:
        assert f"{name} (" in line
    first = next(iter(columns))
    named = CrystalDataset(tmp_path / "c", "all", path=path, properties=first, num_workers=0)
    assert named.targets == [first]
    assert named.property_name == first


def test_all_named_properties_are_targets_but_those_of_a_class_are_its_own(tmp_path, rng):
    path = write_table(tmp_path / "t.csv", rng, 6, a=rng.random(6), b=rng.random(6))

    class Mine(CrystalDataset):
        property_name = "b"

    options = {"path": path, "properties": ["a", "b"], "num_workers": 0}
    assert CrystalDataset(tmp_path / "c", "all", **options).targets == ["a", "b"]
    assert Mine(tmp_path / "c", "all", **options).targets == ["b"]


def test_crystals_that_lack_the_property_are_without_value():
    crystals = [make_crystal(np.random.default_rng(k), 2) for k in range(3)]
    for crystal, info in zip(crystals, ({"e": 1.0}, {"e": math.nan}, {}), strict=True):
        crystal.info.update(info)
    assert with_value(crystals, "e") == crystals[:1]
