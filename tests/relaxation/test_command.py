"""The command ``crysdiff relax`` with the toy potential."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.data.writers import crystals_to_extxyz
from pyg_crysdiff.relaxation import find_judge, read_energies, relax, relaxing
from pyg_crysdiff.testing.potential import toy_judge
from tests.relaxation.test_relaxing import alloy

TOY = "ase:pyg_crysdiff.testing.potential.PairCalculator"
FOLDER = "ase-pyg_crysdiff.testing.potential.PairCalculator"
LONELY = Crystal(20 * np.eye(3), [[0, 0, 0]], [8])


@pytest.fixture
def files(rng, tmp_path, monkeypatch):
    """Two files: three crystals and one that fails; an entry that is broken and a crystal."""
    monkeypatch.setenv("CRYSDIFF_CACHE", str(tmp_path / "cache"))
    crystals = [alloy(rng) for _ in range(4)]
    first = crystals_to_extxyz([*crystals[:2], LONELY, crystals[2]])
    (tmp_path / "a.extxyz").write_text(first)
    second = "1\nno lattice\nNa 0 0 0\n" + crystals_to_extxyz(crystals[3:])
    (tmp_path / "b.extxyz").write_text(second)
    return [str(tmp_path / "a.extxyz"), str(tmp_path / "b.extxyz")]


def run(tmp_path, files, *more):
    main(["relax", *files, "--judge", TOY, "--workers", "0", "--out", str(tmp_path / "out"), *more])
    return tmp_path / "out" / FOLDER


def test_results_are_in_the_order_of_the_input(files, tmp_path, capsys):
    folder = run(tmp_path, files)
    said = capsys.readouterr().out
    assert "4 of 6 entries relaxed, 4 converged" in said
    assert "1 entries could not be read" in said
    assert "failed, 1: an atom has no neighbour" in said
    table = pd.read_csv(folder / "relaxations.csv", keep_default_na=False)
    assert table["file"].tolist() == [files[0]] * 4 + [files[1]] * 2
    assert table["index"].tolist() == [0, 1, 2, 3, 0, 1]
    assert table["formula"].tolist() == ["Cu3Au", "Cu3Au", "O2", "Cu3Au", "", "Cu3Au"]
    assert "no neighbour" in table["problem"][2]
    assert table["problem"][4].startswith("unreadable: ")
    assert set(table["problem"].drop([2, 4])) == {""}
    assert table["num_atoms"].tolist() == ["4", "4", "1", "4", "", "4"]
    structures = read_crystals(folder / "relaxed.extxyz")
    given = [c for file in files for c in read_crystals(file) if isinstance(c, Crystal)]
    expected = relax(given, toy_judge(), num_workers=0)
    for structure, crystal, record in zip(structures, given, expected, strict=True):
        kept = record.crystal or crystal
        assert structure.volume == pytest.approx(kept.volume, rel=1e-6)
        assert structure.atomic_numbers.tolist() == crystal.atomic_numbers.tolist()
    text = (folder / "relaxed.extxyz").read_text()
    assert text.count("relaxed=T") == 4
    assert text.count("relaxed=F") == 1
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["entries"] == 6
    assert (summary["relaxed"], summary["failed"], summary["unreadable"]) == (4, 1, 1)
    assert summary["settings"] == {"steps": 500, "fmax": 0.05, "smax": 0.4, "cell": True}


def test_the_same_command_goes_on(files, tmp_path, monkeypatch):
    first = run(tmp_path, files)
    table = (first / "relaxations.csv").read_text()
    monkeypatch.setattr(relaxing, "relax_all", lambda *a, **k: pytest.fail("relaxed twice"))
    (first / "relaxations.csv").unlink()
    assert (run(tmp_path, files) / "relaxations.csv").read_text() == table


def test_shards_together_are_the_whole(files, tmp_path, monkeypatch, capsys):
    for part in ("0/2", "1/2"):
        run(tmp_path, files, "--shard", part)
    assert "part 1/2, 3 crystals relaxed" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(relaxing, "relax_all", lambda *a, **k: pytest.fail("relaxed twice"))
    assert (run(tmp_path, files) / "relaxed.extxyz").is_file()


def test_settings_reach_the_relaxation(files, tmp_path):
    folder = run(tmp_path, files[:1], "--no-cell", "--fmax", "0.01", "--steps", "40")
    table = pd.read_csv(folder / "relaxations.csv")
    good = table[table["problem"].isna()]
    assert (good["volume_change"] == 0).all()
    assert (good["max_force"] <= 0.01).all()
    folder = run(tmp_path, files[:1], "--steps", "0")
    table = pd.read_csv(folder / "relaxations.csv")
    assert (table["steps"] == 0).all()
    assert (table["energy"].dropna() == table["energy_before"].dropna()).all()


def test_relaxed_energies_can_be_read_as_energies_of_ones_own(files, tmp_path):
    folder = run(tmp_path, files[:1])
    found = read_energies(folder / "relaxed.extxyz", read_crystals(files[0]), "none")
    table = pd.read_csv(folder / "relaxations.csv")
    assert np.allclose(found.values, table["energy"], equal_nan=True)
    assert np.isnan(found.values[2])


def test_what_is_wrong_is_said(files, tmp_path, capsys):
    for words, message in (
        (["--judge", "oracle"], "unknown judge 'oracle'"),
        (["--fmax", "0"], "must be a number above 0"),
        (["--shard", "2/2"], "--shard must look like"),
        (["--device", "abacus"], "unknown device"),
    ):
        with pytest.raises(SystemExit):
            main(["relax", files[0], "--judge", TOY, "--out", str(tmp_path / "out"), *words])
        assert message in capsys.readouterr().err


def test_implausible_results_are_named(rng, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CRYSDIFF_CACHE", str(tmp_path / "cache"))
    swollen = [replace(c, lattice=1.3 * c.lattice) for c in (alloy(rng) for _ in range(12))]
    (tmp_path / "s.extxyz").write_text(crystals_to_extxyz(swollen))
    folder = run(tmp_path, [str(tmp_path / "s.extxyz")])
    line = "12 of 12 relaxations changed their volume by more than 30%"
    assert f"implausible: {line}" in capsys.readouterr().out
    assert line in json.loads((folder / "summary.json").read_text())["doubts"]


def test_a_calculator_of_the_present_folder_judges(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_judges.py").write_text(
        "from pyg_crysdiff.testing.potential import PairCalculator\n"
        "def mine():\n    return PairCalculator()\n"
    )
    words = ["relax", files[0], "--judge", "ase:my_judges.mine", "--workers", "0"]
    main([*words, "--out", str(tmp_path / "mine")])
    found = pd.read_csv(tmp_path / "mine" / "ase-my_judges.mine" / "relaxations.csv")
    expected = pd.read_csv(run(tmp_path, files[:1]) / "relaxations.csv")
    assert np.allclose(found["energy"], expected["energy"], equal_nan=True)
    assert len(set(found["judge"]) | set(expected["judge"])) == 2
    before = find_judge("ase:my_judges.mine").identity
    with (tmp_path / "my_judges.py").open("a") as file:
        file.write("# changed\n")
    assert find_judge("ase:my_judges.mine").identity != before
