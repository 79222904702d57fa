import gzip
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from torch_geometric.loader import DataLoader

from pyg_crysdiff.data import (
    CrystalDataset,
    load_dataset,
    property_of,
    read_crystals,
)
from pyg_crysdiff.data.parse_cache import load_parsed
from pyg_crysdiff.data.parsing import canonical
from pyg_crysdiff.data.writers import crystal_to_cif
from pyg_crysdiff.storage import content_digest
from tests.conftest import make_crystal


def table(tmp_path, rng, count=10, **columns):
    crystals = [make_crystal(rng, int(rng.integers(2, 6))) for _ in range(count)]
    frame = pd.DataFrame(
        {
            "material_id": [f"m{i}" for i in range(count)],
            "cif": [crystal_to_cif(c) for c in crystals],
            "gap": np.linspace(0, 1, count),
            **columns,
        }
    )
    path = tmp_path / "own.csv"
    frame.to_csv(path, index=False)
    return path, crystals, frame


def test_one_data_per_row_with_units_and_shapes(tmp_path, rng):
    path, crystals, _ = table(tmp_path, rng)
    dataset = CrystalDataset(tmp_path / "cache", "all", path=path)
    assert len(dataset) == 10
    data = dataset[3]
    n = len(crystals[3])
    assert data.lattice.shape == (1, 3, 3)
    assert data.frac_coords.shape == (n, 3)
    assert data.num_atoms.tolist() == [n]
    assert property_of(data, "gap").item() == pytest.approx(3 / 9)
    assert data.material_id == "m3"
    assert abs(np.linalg.det(data.lattice[0])) == pytest.approx(crystals[3].volume, rel=1e-5)
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    assert batch.lattice.shape == (4, 3, 3)
    assert property_of(batch, "gap").shape == (4,)


def test_reduction_keeps_the_crystal_and_orients_its_cell(rng):
    crystal = make_crystal(rng, 5)
    skewed = crystal.to_structure()
    skewed.make_supercell([[1, 2, 0], [0, 1, 0], [1, 0, 1]])
    reduced = canonical(type(crystal).from_structure(skewed))
    assert StructureMatcher().fit(reduced.to_structure(), crystal.to_structure())
    lengths, angles = reduced.parameters()
    again = type(crystal).from_parameters(lengths, angles, reduced.frac_coords, np.ones(5))
    np.testing.assert_allclose(again.lattice, reduced.lattice, atol=1e-9)
    # the shortest basis is no longer than the one it came from
    assert np.sort(lengths)[-1] <= np.sort(skewed.lattice.abc)[-1] + 1e-6


def test_splits_partition_the_file_and_depend_on_the_seed(tmp_path, rng):
    path, _, _ = table(tmp_path, rng, 20)
    parts = {
        (seed, split): [
            d.row.item() if hasattr(d.row, "item") else d.row
            for d in CrystalDataset(tmp_path / "c", split, path=path, seed=seed)
        ]
        for seed in (0, 1)
        for split in ("train", "val", "test")
    }
    rows = [row for s in ("train", "val", "test") for row in parts[0, s]]
    assert sorted(rows) == list(range(20))
    assert len(parts[0, "train"]) == 16
    assert parts[0, "train"] != parts[1, "train"]


def test_a_folder_of_split_files_is_taken_as_given(tmp_path, rng):
    path, _, frame = table(tmp_path, rng, 9)
    folder = tmp_path / "three"
    folder.mkdir()
    for name, rows in (("train", slice(0, 5)), ("val", slice(5, 7)), ("test", slice(7, 9))):
        with gzip.open(folder / f"{name}.csv.gz", "wt") as handle:
            frame.iloc[rows].to_csv(handle, index=False)
    sizes = [len(CrystalDataset(tmp_path / "c", s, path=folder)) for s in ("train", "val", "test")]
    assert sizes == [5, 2, 2]
    assert path.exists()


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev"])
def test_a_validation_file_has_one_of_several_names(tmp_path, rng, caplog, name):
    _, _, frame = table(tmp_path, rng, 9)
    folder = tmp_path / "parts"
    folder.mkdir()
    for part, rows in (("train", slice(0, 5)), (name, slice(5, 7)), ("test", slice(7, 9))):
        frame.iloc[rows].to_csv(folder / f"{part}.csv", index=False)
    sizes = [len(CrystalDataset(tmp_path / "c", s, path=folder)) for s in ("train", "val", "all")]
    assert sizes == [5, 2, 9]
    assert not caplog.text
    frame.to_csv(folder / "more.csv.gz", index=False)
    assert len(CrystalDataset(tmp_path / "c", "all", path=folder)) == 9
    assert "more.csv.gz belongs to no part" in caplog.text
    frame.to_csv(folder / f"{'dev' if name == 'val' else 'val'}.csv", index=False)
    with pytest.raises(ValueError, match=r"may both be the val part; keep one"):
        CrystalDataset(tmp_path / "c", "train", path=folder)


def test_bad_rows_are_named_and_leave_the_rest(tmp_path, rng, caplog):
    path, _, frame = table(tmp_path, rng)
    frame.loc[2, "cif"] = "no crystal"
    frame["gap"] = frame["gap"].astype(object)
    frame.loc[5, "gap"] = "wide"
    frame.to_csv(path, index=False)
    dataset = CrystalDataset(tmp_path / "c", "all", path=path, properties=["gap"])
    assert len(dataset) == 8
    assert [b.index for b in dataset.broken] == [2, 5]
    assert "own.csv, row 2" in caplog.text
    assert "gap" in dataset.broken[1].reason
    with pytest.raises(ValueError, match="row 2"):
        CrystalDataset(tmp_path / "c2", "all", path=path, properties=["gap"], strict=True)


def test_unknown_element_is_reported(tmp_path, rng):
    path, _, frame = table(tmp_path, rng)
    text = frame.loc[0, "cif"]
    symbol = next(s for s in ("Sr", "Ti", "O", "C") if f"  {s}  {s}0" in text)
    frame.loc[0, "cif"] = text.replace(f"  {symbol}  {symbol}0", f"  Xy  {symbol}0")
    frame.to_csv(path, index=False)
    dataset = CrystalDataset(tmp_path / "c", "all", path=path)
    assert [b.index for b in dataset.broken] == [0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"properties": "gap,cif"}, r"no property columns.*properties=\[one,two\]"),
        ({"properties": ["nope"]}, r"no property columns \['nope'\].*gap"),
        ({"cif_column": "structure"}, "no column 'structure'"),
    ],
)
def test_missing_columns_list_those_there_are(tmp_path, rng, options, message):
    path, _, _ = table(tmp_path, rng)
    with pytest.raises(ValueError, match=message):
        CrystalDataset(tmp_path / "c", "all", path=path, **options)


def test_empty_and_missing_files(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.csv"):
        CrystalDataset(tmp_path / "c", path=tmp_path / "empty.csv")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        CrystalDataset(tmp_path / "c", path=tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match="no data set"):
        load_dataset("not-a-set")


@pytest.mark.parametrize("names", [("train", "val"), ("train", "test"), ("train", "val", "test")])
def test_files_of_a_split_are_taken_as_given_also_without_one(tmp_path, rng, names):
    path, _, frame = table(tmp_path, rng, 9)
    folder = tmp_path / "parts"
    folder.mkdir()
    for k, name in enumerate(names):
        frame.iloc[3 * k : 3 * k + 3].to_csv(folder / f"{name}.csv", index=False)

    def rows(split):
        return [c.info["material_id"] for c in CrystalDataset(tmp_path / "c", split, path=folder)
                .crystals()]  # fmt: skip

    assert rows("train") == ["m0", "m1", "m2"]
    assert rows("val") == (["m3", "m4", "m5"] if "val" in names else [])
    assert len(rows("all")) == 3 * len(names)
    if "test" not in names:
        with pytest.raises(FileNotFoundError, match=r"no test\.csv"):
            rows("test")
    assert path.exists()


@pytest.mark.parametrize(
    ("count", "fractions", "sizes"),
    [
        (5, (0.8, 0.1, 0.1), (4, 0, 1)),
        (3, (0.8, 0.1, 0.1), (2, 1, None)),
        (1, (0.8, 0.1, 0.1), (1, 0, None)),
        (5, (1, 0, 0), (5, 0, None)),
        (5, [0, 0.5, 0.5], (None, 2, 3)),
    ],
)
def test_small_sets_train_without_validation_or_name_the_fractions(
    tmp_path, rng, count, fractions, sizes
):
    path, _, _ = table(tmp_path, rng, count)
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        options = {"path": path, "fractions": fractions}
        if size is None:
            with pytest.raises(ValueError, match=rf"the {split} part.*fractions"):
                CrystalDataset(tmp_path / "c", split, **options)
        else:
            dataset = CrystalDataset(tmp_path / "c", split, **options)
            assert len(dataset) == len(dataset.crystals()) == len(list(dataset)) == size


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.2), (1.5, -0.5, 0), ("1", "0", "0"), (0.5, 0.1, 0.1)]
)
def test_bad_fractions_say_what_they_must_be(tmp_path, rng, fractions):
    path, _, _ = table(tmp_path, rng)
    with pytest.raises(ValueError, match="fractions must be three numbers"):
        CrystalDataset(tmp_path / "c", path=path, fractions=fractions)


class Harmful:
    """Runs code where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_nothing_in_a_cache_is_executed(tmp_path, rng):
    path, crystals, _ = table(tmp_path, rng)
    root, mark = tmp_path / "c", tmp_path / "executed"
    CrystalDataset(root, "all", path=path)
    (cached,) = root.rglob("*.npz")
    key = cached.stem
    names = ["pre_transform.pt", "pre_filter.pt", f"all-{key}.pt", f"{key}.pt", f"all-{key}.npz"]
    (root / "processed").mkdir(exist_ok=True)
    for name in names:
        torch.save(Harmful(mark), root / "processed" / name)
    with cached.open("wb") as handle:
        pickle.dump(Harmful(mark), handle)
    assert len(CrystalDataset(root, "all", path=path)) == len(crystals)
    objects = np.array([Harmful(mark)], dtype=object)
    np.savez(cached, lattice=objects, frac_coords=objects, num_atoms=objects, meta=objects)
    assert len(CrystalDataset(root, "all", path=path)) == len(crystals)
    assert not mark.exists()


@pytest.mark.parametrize("damage", ["empty", "half", "text", "flip", "other"])
def test_a_damaged_cache_is_made_again(tmp_path, rng, damage):
    path, _, _ = table(tmp_path, rng)
    first = CrystalDataset(tmp_path / "c", "all", path=path).crystals()
    (cached,) = (tmp_path / "c").rglob("*.npz")
    whole = cached.read_bytes()
    middle = len(whole) // 2
    content = {
        "empty": b"", "half": whole[:middle], "text": b"no archive",
        "flip": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
    }  # fmt: skip
    if damage == "other":
        np.savez(cached, lattice=np.zeros((1, 3, 3)))
    else:
        cached.write_bytes(content[damage])
    again = CrystalDataset(tmp_path / "c", "all", path=path).crystals()
    assert [c.digest() for c in again] == [c.digest() for c in first]
    assert [c.info for c in again] == [c.info for c in first]
    assert load_parsed(cached) is not None


def test_a_folder_that_cannot_be_written_to_costs_the_cache_alone(tmp_path, rng, caplog):
    path, _, _ = table(tmp_path, rng)
    (tmp_path / "file").write_text("no folder")
    assert len(CrystalDataset(tmp_path / "file", "all", path=path)) == 10
    assert "cannot be kept" in caplog.text


def test_processes_on_a_cold_cache_do_not_disturb_each_other(tmp_path, rng):
    path, crystals, _ = table(tmp_path, rng)
    with ThreadPoolExecutor(4) as pool:
        sizes = pool.map(
            lambda _: len(CrystalDataset(tmp_path / "c", "all", path=path, num_workers=0)), range(8)
        )
        assert list(sizes) == [len(crystals)] * 8
    assert len(list((tmp_path / "c").rglob("*"))) == 2  # the folder and one file


def test_a_change_in_a_folder_within_the_folder_is_seen(tmp_path, rng):
    inner = tmp_path / "files" / "inner"
    inner.mkdir(parents=True)
    (inner / "a.cif").write_text(crystal_to_cif(make_crystal(rng, 3)))
    first = content_digest(tmp_path / "files")
    (inner / "a.cif").rename(inner / "b.cif")
    second = content_digest(tmp_path / "files")
    (inner / "b.cif").write_text(crystal_to_cif(make_crystal(rng, 4)))
    assert len({first, second, content_digest(tmp_path / "files")}) == 3


def test_transforms_before_caching_are_those_of_this_call(tmp_path, rng):
    path, _, _ = table(tmp_path, rng)
    sizes = [
        {int(d.mark) for d in CrystalDataset(
            tmp_path / "c", "all", path=path, pre_transform=lambda d, m=m: d.update({"mark": m}))}
        for m in (1, 2)
    ]  # fmt: skip
    assert sizes == [{1}, {2}]


@pytest.mark.parametrize("name", ["~tilde.csv", "a (1) = ${b}, Δ.csv", "it's 50%.csv", "#1&2;.csv"])
def test_files_of_any_name_are_opened(tmp_path, rng, monkeypatch, name):
    path, _, _ = table(tmp_path, rng)
    path.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    dataset = load_dataset(name, "all", root=tmp_path / "c")
    assert len(dataset) == 10
    assert dataset.display_name == Path(name).stem
    assert len(read_crystals(name)) == 10


def test_a_changed_file_is_never_served_from_the_cache(tmp_path, rng):
    path, _, frame = table(tmp_path, rng)

    def gap(path):
        return property_of(CrystalDataset(tmp_path / "c", "all", path=path)[0], "gap").item()

    first = gap(path)
    frame["gap"] += 7
    frame.to_csv(path, index=False)
    assert gap(path) == first + 7


def test_parallel_equals_serial(tmp_path, rng):
    path, _, _ = table(tmp_path, rng, 220)
    serial = CrystalDataset(tmp_path / "a", "all", path=path, num_workers=0).crystals()
    parallel = CrystalDataset(tmp_path / "b", "all", path=path, num_workers=2).crystals()
    for a, b in zip(serial, parallel, strict=True):
        np.testing.assert_array_equal(a.lattice, b.lattice)
        np.testing.assert_array_equal(a.frac_coords, b.frac_coords)


def test_crystals_keep_double_precision_and_respect_subsets_and_filters(tmp_path, rng):
    path, _, _ = table(tmp_path, rng)
    dataset = CrystalDataset(tmp_path / "c", "all", path=path, pre_filter=lambda d: d.num_nodes > 2)
    subset = dataset[1:3]
    crystals = subset.crystals()
    assert [c.info["material_id"] for c in crystals] == [d.material_id for d in subset]
    assert crystals[0].lattice.dtype == np.float64
    assert all(len(c) > 2 for c in dataset.crystals())


def test_folder_of_structures_with_a_property_table(tmp_path, rng):
    folder = tmp_path / "files"
    folder.mkdir()
    crystals = [make_crystal(rng, 3) for _ in range(4)]
    for i, crystal in enumerate(crystals):
        if i % 2:
            (folder / f"c{i}.cif").write_text(crystal_to_cif(crystal))
        else:
            crystal.to_structure().to(str(folder / f"c{i}.vasp"), fmt="poscar")
    pd.DataFrame({"file": [f"c{i}" for i in range(4)], "e": range(4)}).to_csv(
        folder / "properties.csv", index=False
    )
    dataset = CrystalDataset(tmp_path / "c", "all", path=folder)
    assert dataset.property_name == "e"
    assert [property_of(d, "e").item() for d in dataset] == [0, 1, 2, 3]


def test_the_demo_set_is_what_its_card_says():
    from pyg_crysdiff.data import Demo

    parts = {s: Demo(split=s) for s in ("train", "val", "test")}
    assert [len(p) for p in parts.values()] == [777, 87, 864]
    elements = set()
    for part in parts.values():
        for crystal in part.crystals():
            assert len(crystal) == 5
            assert np.ptp(crystal.parameters()[0]) < 1e-9
            elements.update(crystal.atomic_numbers.tolist())
    assert len(elements) >= 12
    assert Demo.file.stat().st_size < 1_000_000
    assert "demo" in parts["train"].display_name
    references = json.loads((Demo.file.parent / "references.json").read_text())
    assert len(references) == len(elements)
