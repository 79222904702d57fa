import gzip
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher

from pyg_crysdiff.data import BrokenEntry, Crystal, read_crystals
from pyg_crysdiff.data.readers import unreadable_line
from pyg_crysdiff.data.writers import crystal_to_cif, save_cdvae, write_extxyz
from tests.conftest import make_crystal


def same(a: Crystal, b: Crystal, tolerance: float = 1e-5) -> None:
    """Equal up to the order of the atoms, which pymatgen's CIF parser changes."""
    np.testing.assert_allclose(a.parameters()[0], b.parameters()[0], rtol=tolerance)
    np.testing.assert_allclose(a.parameters()[1], b.parameters()[1], rtol=tolerance)
    first, second = (np.lexsort((*c.frac_coords.T, c.atomic_numbers)) for c in (a, b))
    np.testing.assert_array_equal(a.atomic_numbers[first], b.atomic_numbers[second])
    off = a.frac_coords[first] - b.frac_coords[second]
    np.testing.assert_allclose(off - np.round(off), 0, atol=tolerance)


@pytest.fixture
def crystals(rng):
    return [make_crystal(rng, n) for n in (3, 1, 5)]


def write_as(kind, crystals, path):  # noqa: PLR0911
    if kind == "pt":
        save_cdvae(crystals, path / "s.pt")
        return path / "s.pt"
    if kind == "pt without leading axis":
        save_cdvae(crystals, path / "s.pt")
        content = torch.load(path / "s.pt", weights_only=True)
        flat = {k: v[0] for k, v in content.items() if torch.is_tensor(v)}
        torch.save(flat, path / "f.pt")
        return path / "f.pt"
    if kind == "extxyz":
        write_extxyz(crystals, path / "s.extxyz")
        return path / "s.extxyz"
    texts = {f"{i}.cif": crystal_to_cif(c) for i, c in enumerate(crystals)}
    if kind == "folder":
        for name, text in texts.items():
            (path / name).write_text(text)
        return path
    if kind == "zip":
        with zipfile.ZipFile(path / "s.zip", "w") as archive:
            for name, text in texts.items():
                archive.writestr(name, text)
        return path / "s.zip"
    if kind == "tar.gz":
        inner = path / "inner"
        inner.mkdir()
        with tarfile.open(path / "s.tar.gz", "w:gz") as archive:
            for name, text in texts.items():
                (inner / name).write_text(text)
                archive.add(inner / name, arcname=f"out/{name}")
        return path / "s.tar.gz"
    if kind == "cif blocks":
        (path / "s.cif").write_text("\n".join(texts.values()))
        return path / "s.cif"
    if kind == "csv":
        pd.DataFrame({"cif": list(texts.values())}).to_csv(path / "s.csv")
        return path / "s.csv"
    structures = [c.to_structure().as_dict() for c in crystals]
    if kind == "json.gz":
        with gzip.open(path / "s.json.gz", "wt") as handle:
            json.dump(structures, handle)
        return path / "s.json.gz"
    (path / "s.json").write_text(json.dumps([{"id": 1, "structure": s} for s in structures]))
    return path / "s.json"


@pytest.mark.parametrize(
    "kind",
    [
        "pt", "pt without leading axis", "extxyz", "folder", "zip", "tar.gz", "cif blocks", "csv",
        "json", "json.gz",
    ],
)  # fmt: skip
def test_every_format_gives_the_crystals_back_in_order(kind, crystals, tmp_path):
    found = read_crystals(write_as(kind, crystals, tmp_path))
    assert len(found) == 3
    for a, b in zip(found, crystals, strict=True):
        same(a, b)


def test_poscar(crystals, tmp_path):
    structure = crystals[0].to_structure()
    structure.to(str(tmp_path / "POSCAR"), fmt="poscar")
    (found,) = read_crystals(tmp_path / "POSCAR")
    assert StructureMatcher().fit(found.to_structure(), structure)


def test_provenance_survives_in_extxyz(crystals, tmp_path):
    import ase.io

    marked = [Crystal(c.lattice, c.frac_coords, c.atomic_numbers, {"index": i, "target": {"e": 1}})
              for i, c in enumerate(crystals)]  # fmt: skip
    write_extxyz(marked, tmp_path / "s.extxyz")
    frames = ase.io.read(tmp_path / "s.extxyz", ":")
    assert [f.info["index"] for f in frames] == [0, 1, 2]
    assert frames[0].info["target"] == {"e": 1}


def test_many_files_come_in_natural_order(rng, tmp_path):
    crystals = [make_crystal(rng, 1 + i % 3) for i in range(12)]
    for i, crystal in enumerate(crystals):
        (tmp_path / f"gen_{i}.cif").write_text(crystal_to_cif(crystal))
    for a, b in zip(read_crystals(tmp_path), crystals, strict=True):
        same(a, b)


def test_broken_entries_stand_in_their_place(crystals, tmp_path):
    flat = Crystal(np.zeros((3, 3)), crystals[0].frac_coords, crystals[0].atomic_numbers)
    lost = Crystal(np.full((3, 3), np.nan), crystals[0].frac_coords, crystals[0].atomic_numbers)
    save_cdvae([crystals[0], lost, crystals[2]], tmp_path / "s.pt")
    found = read_crystals(tmp_path / "s.pt")
    assert isinstance(found[1], BrokenEntry)
    assert found[1].index == 1
    same(found[2], crystals[2])
    for i, crystal in enumerate([crystals[0], flat, crystals[2]]):
        (tmp_path / f"{i}.cif").write_text(crystal_to_cif(crystal))
    found = read_crystals(tmp_path)
    assert [isinstance(f, BrokenEntry) for f in found] == [False, True, False]
    write_extxyz([crystals[0], lost, crystals[2]], tmp_path / "s.extxyz")
    found = read_crystals(tmp_path / "s.extxyz")
    assert [isinstance(f, BrokenEntry) for f in found] == [False, True, False]


class _Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_would_execute_code_is_refused(tmp_path, capsys):
    torch.save({"frac_coords": torch.zeros(1, 3), "evil": _Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="would execute code"):
        read_crystals(tmp_path / "evil.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(_Evil(), protocol=2))
    with pytest.raises(ValueError, match=r"raw\.pt"):
        read_crystals(tmp_path / "raw.pt")
    assert "executed" not in capsys.readouterr().out


def test_damaged_files_are_named(crystals, tmp_path):
    save_cdvae(crystals, tmp_path / "s.pt")
    whole = (tmp_path / "s.pt").read_bytes()
    (tmp_path / "s.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a.zip").write_bytes(b"PK nothing")
    (tmp_path / "b.json").write_text("[{")
    (tmp_path / "c.extxyz").write_text("not a number\n")
    (tmp_path / "d.xlsx").write_text("")
    for name in ("s.pt", "a.zip", "b.json", "c.extxyz", "d.xlsx"):
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            read_crystals(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_crystals(tmp_path / "nothing.pt")


def test_one_line_says_what_could_not_be_read():
    good = Crystal(np.eye(3) * 3, np.zeros((1, 3)), np.array([6]))
    entries = [good, BrokenEntry(1, "no cell", "a.cif"), BrokenEntry(2, "no atoms", "b.cif")]
    assert unreadable_line(entries, "f") == "2 of 3 entries unreadable, first: a.cif: no cell"
    assert unreadable_line([BrokenEntry(0, "empty")], "f").endswith("first: f: empty")
    assert unreadable_line([good], "f") is None


def test_counts_that_do_not_add_up(crystals, tmp_path):
    save_cdvae(crystals, tmp_path / "s.pt")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    content["num_atoms"] += 1
    torch.save(content, tmp_path / "s.pt")
    with pytest.raises(ValueError, match="adds up to"):
        read_crystals(tmp_path / "s.pt")


def test_several_evaluations(crystals, tmp_path, caplog):
    save_cdvae(crystals, tmp_path / "s.pt")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    two = {k: torch.cat([v, v]) for k, v in content.items() if torch.is_tensor(v)}
    two["lengths"][1] *= 2
    torch.save(two, tmp_path / "two.pt")
    second = read_crystals(tmp_path / "two.pt", evaluation=1)
    np.testing.assert_allclose(
        second[0].parameters()[0], 2 * crystals[0].parameters()[0], rtol=1e-5
    )
    with pytest.raises(ValueError, match="2 evaluations"):
        read_crystals(tmp_path / "two.pt", evaluation=2)
    assert "evaluations" not in caplog.text
    read_crystals(tmp_path / "s.pt")
    assert "evaluations" not in caplog.text
    first = read_crystals(tmp_path / "two.pt")
    np.testing.assert_allclose(first[0].parameters()[0], crystals[0].parameters()[0], rtol=1e-5)
    assert "two.pt holds 2 evaluations; number 0 was read" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("lengths", -4.0, "a cell length must be above zero"),
        ("lengths", 0.0, "a cell length must be above zero"),
        ("angles", -90.0, "between 0 and 180"),
        ("angles", 180.0, "between 0 and 180"),
        ("lengths", float("nan"), "not finite"),
    ],
)
def test_cells_of_a_tensor_file_that_are_none(key, value, reason, crystals, tmp_path):
    save_cdvae(crystals, tmp_path / "s.pt")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    content[key][0, 1, 2] = value
    torch.save(content, tmp_path / "s.pt")
    found = read_crystals(tmp_path / "s.pt")
    assert [isinstance(f, BrokenEntry) for f in found] == [False, True, False]
    assert reason in found[1].reason
