"""The polymorph split: compositions stay together, parts keep their size, rows stay as they are."""

import csv
import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pyg_crysdiff.data import Crystal, load_dataset
from pyg_crysdiff.data.writers import crystal_to_cif

ROOT = Path(__file__).parents[2]
PARTS = ("train", "val", "test")
ELEMENTS = (3, 4, 5, 7, 8, 9, 11, 12, 13)


@pytest.fixture
def script():
    path = ROOT / "scripts" / "polymorph_split.py"
    spec = importlib.util.spec_from_file_location("polymorph_split", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _row(number, rng):
    """A row with a binary crystal, of which there are polymorphs; some are doubled cells."""
    a, b = sorted(rng.choice(ELEMENTS, 2, replace=False).tolist())
    copies = int(rng.integers(1, 3))
    frac = rng.random((2 * copies, 3))
    crystal = Crystal(np.eye(3) * 6, frac, np.array([a, b] * copies))
    return [str(number), f"id-{number}", crystal_to_cif(crystal), 'a, "b"\nc', f"{number / 7}"]


def _write(folder, name, rows, columns):
    folder.mkdir(exist_ok=True)
    opened = gzip.open if name.endswith(".gz") else open
    with opened(folder / name, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    rows = [_row(number, rng) for number in range(100)]
    columns = ["", "material_id", "cif", "note", "energy"]
    folder = tmp_path / "set"
    _write(folder, "train.csv.gz", rows[:60], columns)
    _write(folder, "val.csv", rows[60:80], columns)
    swapped = [[row[i] for i in (1, 0, 2, 4, 3)] for row in rows[80:]]
    _write(folder, "test.csv", swapped, [columns[i] for i in (1, 0, 2, 4, 3)])
    return folder, columns, rows


def _read(folder):
    out = {}
    for name in PARTS:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        out[name] = (head, rows)
    return out


def test_no_composition_is_on_two_sides_and_nothing_is_lost(script, source, tmp_path, capsys):
    folder, columns, rows = source
    script.main([str(folder), str(tmp_path / "new"), "--seed", "3"])
    parts = _read(tmp_path / "new")
    assert all(head == columns for head, _ in parts.values())
    together = [row for _, part in parts.values() for row in part]
    assert sorted(together) == sorted(rows)
    sides = [{script.composition_of(row[2]) for row in part} for _, part in parts.values()]
    assert len(set.union(*sides)) == sum(len(side) for side in sides)
    old = [rows[:60], rows[60:80], rows[80:]]
    before = [{script.composition_of(row[2]) for row in part} for part in old]
    assert before[0] & before[2]  # the split that it started from had such compositions
    groups = [script.composition_of(row[2]) for row in rows]
    largest = max(groups.count(group) for group in groups)
    assert largest > 1
    sizes = [len(part) for _, part in parts.values()]
    assert all(abs(a - b) < largest for a, b in zip(sizes, (60, 20, 20), strict=True))
    assert f"{sizes[0]} train, {sizes[1]} val, {sizes[2]} test" in capsys.readouterr().out


def test_the_seed_decides(script, source, tmp_path):
    folder, *_ = source
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        script.split_folder(folder, tmp_path / name, seed)
    assert _read(tmp_path / "a") == _read(tmp_path / "b") != _read(tmp_path / "c")


def test_the_parts_open_as_a_data_set(script, source, tmp_path):
    folder, _, rows = source
    sizes = script.split_folder(folder, tmp_path / "new", 0)
    for name in PARTS:
        opened = load_dataset(tmp_path / "new", name, properties=["energy"], root=tmp_path / "c")
        assert len(opened) == sizes[name]
        assert opened.split_description == "polymorph split, seed 0"
    assert sum(sizes.values()) == len(rows)


def test_reduced_formulas(script):
    assert (
        script.composition_of("data_x\n_chemical_formula_sum   'Ti2 O4'\n_cell_volume 3") == "TiO2"
    )
    assert script.composition_of("_chemical_formula_sum NaCl\n") == "NaCl"
    assert script.composition_of('_chemical_formula_sum "C12"') == "C"


def test_groups_by_hand(script):
    parts = script.split_groups(list("abcdef"), [3, 2, 1], 0)
    assert [len(part) for part in parts] == [3, 2, 1]
    assert sorted(row for part in parts for row in part) == list(range(6))
    for seed in range(5):
        parts = script.split_groups(list("abbabcdbefghij"), [6, 4, 4], seed)
        (own,) = (part for part in parts if 1 in part)
        assert set(own) >= {1, 2, 4, 7}
        assert all(part == sorted(part) for part in parts)


def test_bad_folders_are_refused(script, source, tmp_path):
    folder, columns, rows = source
    with pytest.raises(ValueError, match="one composition has no polymorph split"):
        script.split_groups(["C"] * 10, [6, 2, 2], 0)
    with pytest.raises(ValueError, match="part 3 would be empty"):
        script.split_groups(list("abccccccc"), [4, 4, 1], 1)
    script.split_folder(folder, tmp_path / "new", 0)
    with pytest.raises(FileExistsError, match=r"already holds train\.csv, val\.csv, test\.csv"):
        script.split_folder(folder, tmp_path / "new", 0)
    _write(folder, "test.csv", [row[1:] for row in rows[80:]], columns[1:])
    with pytest.raises(ValueError, match=r"test\.csv has the columns"):
        script.split_folder(folder, tmp_path / "other", 0)
    broken = [[*rows[80][:2], "data_x", *rows[80][3:]]]
    _write(folder, "test.csv", broken, columns)
    with pytest.raises(ValueError, match="test: row 1: the CIF text has no _chemical_formula_sum"):
        script.split_folder(folder, tmp_path / "other", 0)
    _write(folder, "test.csv", [rows[80][:3]], columns)
    with pytest.raises(ValueError, match="row 1 has 3 cells of 5"):
        script.split_folder(folder, tmp_path / "other", 0)
    (folder / "test.csv").unlink()
    with pytest.raises(SystemExit, match=r"lacks test\.csv"):
        script.main([str(folder), str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()
