"""Files read bit by bit hold the same entries as files read whole."""

import bz2
import gzip
import json
import lzma

import numpy as np
import pytest

from pyg_crysdiff.data import BrokenEntry, Crystal, read_crystals
from pyg_crysdiff.data.cif_tables import read_table
from pyg_crysdiff.data.parsing import parse_entries
from pyg_crysdiff.data.sources import entries_in
from pyg_crysdiff.data.streams import stream_entries
from pyg_crysdiff.data.writers import crystal_to_cif, crystals_to_extxyz
from tests.conftest import make_crystal


@pytest.fixture
def crystals(rng):
    return [make_crystal(rng, 2) for _ in range(7)]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr("pyg_crysdiff.data.streams._ROWS", 3)


def csv(crystals, header="material_id,cif,note", quote='"'):
    rows = [f'm-{i},{quote}{crystal_to_cif(c)}{quote},"a, b\nc"' for i, c in enumerate(crystals)]
    return "\n".join([header, *rows]) + "\n"


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("change", [
    lambda text: text.encode(),
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: ("\n" + text).encode("utf-8-sig"),
    lambda text: text.encode("utf-16"),
    lambda text: text.replace("a, b", "Å").encode("cp1252"),
    lambda text: text.replace("material_id", "other").encode(),
])  # fmt: skip
def test_rows_of_a_table(change, ending, crystals, tmp_path):
    packed = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    path = tmp_path / f"t.csv{ending}"
    path.write_bytes(packed[ending](change(csv(crystals))))
    found = list(stream_entries(path))
    assert found == read_table(path, properties=[]).entries
    assert len(found) == 7


def test_a_sign_of_another_encoding_far_down_costs_nothing(crystals, tmp_path, monkeypatch):
    monkeypatch.setattr("pyg_crysdiff.data.texts._SAMPLE", 100)
    path = tmp_path / "t.csv"
    path.write_bytes(
        csv(crystals).encode() + csv(crystals[:1], "").replace("b", "é").encode("cp1252")
    )
    assert len(list(stream_entries(path))) == 8


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_frames(count, crystals, tmp_path):
    path = tmp_path / "s.extxyz.gz"
    text = crystals_to_extxyz(crystals[:count])
    path.write_bytes(gzip.compress(f"\n{text}\n\n".encode()))
    assert list(stream_entries(path)) == entries_in(path)


def test_lines_of_json(crystals, tmp_path):
    path = tmp_path / "s.jsonl"
    records = [
        {"id": f"m{i}", "structure": c.to_structure().as_dict()} for i, c in enumerate(crystals)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    assert list(stream_entries(path)) == entries_in(path)
    bare = tmp_path / "bare.jsonl"
    bare.write_text("\n".join(json.dumps(r["structure"]) for r in records))
    assert list(stream_entries(bare)) == entries_in(bare)


def test_a_bad_line_of_json_is_one_bad_entry(crystals, tmp_path):
    path = tmp_path / "s.jsonl"
    lines = [json.dumps(c.to_structure().as_dict()) for c in crystals]
    lines[4] = lines[4][:50]
    path.write_text("\n".join(lines))
    found = parse_entries(list(stream_entries(path)), num_workers=0, progress=False)
    assert [isinstance(c, BrokenEntry) for c in found] == [i == 4 for i in range(7)]
    assert found[4].source == "s.jsonl, entry 4"
    assert "not valid JSON" in found[4].reason


def test_other_files_are_read_whole(crystals, tmp_path):
    cif = tmp_path / "two.cif"
    cif.write_text("".join(crystal_to_cif(c) for c in crystals[:2]))
    whole = tmp_path / "s.json"
    whole.write_text(json.dumps([c.to_structure().as_dict() for c in crystals]))
    for path, count in ((cif, 2), (whole, 7), (tmp_path, 0)):
        if count:
            assert list(stream_entries(path)) == entries_in(path)
            assert len(entries_in(path)) == count
    with pytest.raises(ValueError, match=r"notes\.txt: unknown kind"):
        list(stream_entries(tmp_path / "notes.txt"))


@pytest.mark.parametrize(("text", "reason"), [
    ("", "cannot be read as CSV"),
    ("id,x\n1,2\n", "no column with CIF text"),
    ("id,cif\n", "has no rows"),
    ("cif,cif\na,b\n", "more than one column"),
    ("id,cif\n1,a\n1,a\n1,a\n1,a\n1,a,b\n", "cannot be read as CSV"),
])  # fmt: skip
def test_bad_tables(text, reason, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"t\.csv.*{reason}"):
        list(stream_entries(path))


def test_damaged_and_bottomless_files(crystals, tmp_path, monkeypatch):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(csv(crystals).encode())[:-30])
    with pytest.raises(ValueError, match=r"t\.csv\.gz is damaged or incomplete"):
        list(stream_entries(path))
    monkeypatch.setattr("pyg_crysdiff.data.archives._ALWAYS_UNPACKED", 10)
    path.write_bytes(gzip.compress(csv(crystals).encode() + b"\n" * 10**6))
    with pytest.raises(ValueError, match="unpacks to more than"):
        list(stream_entries(path))


def parquet(path, columns):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def same(found, crystals):
    assert all(isinstance(c, Crystal) for c in found), found
    for a, b in zip(found, crystals, strict=True):
        i, j = (np.argsort(c.atomic_numbers, kind="stable") for c in (a, b))  # CIF has its order
        assert a.atomic_numbers[i].tolist() == b.atomic_numbers[j].tolist()
        np.testing.assert_allclose(a.parameters(), b.parameters(), atol=1e-5)
        np.testing.assert_allclose(a.frac_coords[i] % 1, b.frac_coords[j] % 1, atol=1e-6)


def test_parquet_of_texts(crystals, tmp_path):
    crystals = [c.oriented() for c in crystals]
    names = [f"m{i}" for i in range(7)]
    cif = {"material_id": names, "cif": [crystal_to_cif(c) for c in crystals]}
    structures = [json.dumps(c.to_structure().as_dict()) for c in crystals]
    for columns in (cif, {"id": names, "structure": structures, "x": [1.0] * 7}):
        found = read_crystals(parquet(tmp_path / "t.parquet", columns), num_workers=0)
        same(found, crystals)
        assert [c.info["material_id"] for c in found] == names


def test_parquet_of_numbers(crystals, tmp_path):
    columns = {
        "immutable_id": [f"m{i}" for i in range(7)],
        "lattice_vectors": [c.lattice.tolist() for c in crystals],
        "species_at_sites": [[s.symbol for s in c.to_structure().species] for c in crystals],
        "cartesian_site_positions": [(c.frac_coords @ c.lattice).tolist() for c in crystals],
    }
    found = read_crystals(parquet(tmp_path / "t.parquet", columns), num_workers=0)
    same(found, crystals)
    assert found[3].info["material_id"] == "m3"
    columns["lattice_vectors"][2] = None
    columns["species_at_sites"][4] = ["C"]
    found = read_crystals(parquet(tmp_path / "t.parquet", columns), num_workers=0)
    broken = [c for c in found if isinstance(c, BrokenEntry)]
    assert [b.source for b in broken] == ["t.parquet, row 2", "t.parquet, row 4"]
    assert broken[0].reason == "the row holds no structure"


def test_parquet_without_structures(tmp_path):
    with pytest.raises(ValueError, match=r"t\.parquet has no column with structures"):
        read_crystals(parquet(tmp_path / "t.parquet", {"id": ["a"]}))
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.parquet cannot be read as Parquet"):
        read_crystals(tmp_path / "bad.parquet")


def test_parquet_needs_its_package(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pyarrow"):
        read_crystals(tmp_path / "t.parquet")
