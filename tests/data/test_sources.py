"""Files, folders and archives: each crystal once, the same wherever it lies, within bounds."""

import bz2
import gzip
import io
import json
import logging
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from pyg_crysdiff.data import BrokenEntry, Crystal, read_crystals
from pyg_crysdiff.data.parsing import read_entries
from pyg_crysdiff.data.writers import crystal_to_cif, write_extxyz
from tests.conftest import make_crystal, zipped


@pytest.fixture
def crystals(rng):
    return [make_crystal(rng, n) for n in (3, 1, 5)]


@pytest.fixture
def cifs(crystals):
    return [crystal_to_cif(c) for c in crystals]


def frames(crystals, folder):
    write_extxyz(crystals, folder / "made.extxyz")
    text = (folder / "made.extxyz").read_text()
    (folder / "made.extxyz").unlink()
    return text


def place(files, folder, kind):
    """Lay files (name -> text or bytes) in a folder, a zip or a tar."""
    files = {n: c.encode() if isinstance(c, str) else c for n, c in files.items()}
    if kind == "folder":
        for name, content in files.items():
            (folder / "f" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "f" / name).write_bytes(content)
        return folder / "f"
    path = folder / f"f.{kind}"
    if kind == "zip":
        path.write_bytes(zipped(files))
        return path
    with tarfile.open(path, "w:" + kind.partition(".")[2]) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def sizes(path):
    found = read_crystals(path, num_workers=0)
    assert all(isinstance(c, Crystal) for c in found), found
    # A model is trained on what is evaluated.
    assert len(read_entries(path).entries) == len(found)
    return [len(c) for c in found]


KINDS = ["folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_folder_of_mattergen_is_read_once(kind, crystals, cifs, tmp_path, caplog):
    text = frames(crystals, tmp_path)
    copies = zipped({f"gen_{i}.cif": c for i, c in enumerate(cifs)})
    files = {
        "generated_crystals.extxyz": text,
        "generated_crystals_cif.zip": copies,
        "generated_trajectories.zip": zipped({"gen_0.extxyz": text, "gen_1.extxyz": text}),
    }
    with caplog.at_level(logging.WARNING):
        assert sizes(place(files, tmp_path, kind)) == [3, 1, 5]
    assert "generated_crystals_cif.zip" in caplog.text
    assert "name one to read it" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_what_systems_leave_behind_is_no_data(kind, cifs, tmp_path):
    files = {
        "out/a.cif": cifs[0], "out/deeper/b.cif": cifs[1], "out/._a.cif": b"\x00\x05",
        "__MACOSX/out/._a.cif": b"\x00", "out/.ipynb_checkpoints/a-checkpoint.cif": cifs[0],
        "out/a.cif~": cifs[2], "out/POSCAR.bak": "x", "out/.hidden/c.cif": cifs[2],
    }  # fmt: skip
    assert sizes(place(files, tmp_path, kind)) == [3, 1]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_several_crystals_in_one_file_of_a_folder(kind, crystals, cifs, tmp_path):
    files = {"a.extxyz": frames(crystals, tmp_path), "b.extxyz": frames(crystals[:2], tmp_path)}
    assert sizes(place(files, tmp_path, kind)) == [3, 1, 5, 3, 1]
    blocks = "data_global\n_publ_title 'no atoms'\n" + "\n".join(cifs)
    (tmp_path / "c").mkdir()
    assert sizes(place({"a.cif": blocks, "b.cif": cifs[1]}, tmp_path / "c", kind)) == [3, 1, 5, 1]


def test_what_may_be_a_copy_is_said(crystals, cifs, tmp_path, caplog):
    text = frames(crystals, tmp_path)
    files = {"samples.extxyz": text, "cif/0.cif": cifs[0], "cif/1.cif": cifs[1]}
    assert sizes(place(files, tmp_path, "folder")) == [3, 1, 5]
    assert "left out cif/" in caplog.text
    with pytest.raises(ValueError, match=r"may be copies; name the file"):
        read_crystals(place({"a.extxyz": text, "a.cif": cifs[0]}, tmp_path, "zip"))
    two = place({"a.zip": zipped({"a.cif": cifs[0]}), "b.zip": b""}, tmp_path, "tar")
    with pytest.raises(ValueError, match=r"several archives \(a.zip, b.zip\)"):
        read_crystals(two)
    assert sizes(place({"x/a.zip": zipped({"a.cif": cifs[0]})}, tmp_path, "tar.gz")) == [3]


def test_folders_of_vasp(crystals, tmp_path, caplog):
    poscars = [c.to_structure().to(fmt="poscar") for c in crystals]
    files = {
        "run1/POSCAR": poscars[0], "run1/CONTCAR": poscars[1], "run2/CONTCAR": poscars[2],
        "run2/INCAR": "ENCUT = 500", "run3/POSCAR_1": poscars[0],
    }  # fmt: skip
    path = place(files, tmp_path, "folder")
    assert sizes(path) == [1, 5, 3]
    assert "run1/POSCAR" in caplog.text
    names = [e.material_id for e in read_entries(path).entries]
    assert names == ["run1/CONTCAR", "run2/CONTCAR", "run3/POSCAR_1"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files(pack, crystals, cifs, tmp_path):
    suffix = {"gzip": "gz", "bz2": "bz2", "lzma": "xz"}[pack.__module__.strip("_")]
    (tmp_path / f"a.cif.{suffix}").write_bytes(pack(cifs[0].encode()))
    (tmp_path / f"b.extxyz.{suffix}").write_bytes(pack(frames(crystals[:1], tmp_path).encode()))
    assert sizes(tmp_path / f"a.cif.{suffix}") == [3]
    assert sizes(tmp_path) == [3, 3]


def test_a_damaged_file_of_a_folder_leaves_the_others(cifs, tmp_path):
    files = {"a.cif": cifs[0], "b.cif": b"\x00\x01\x02\x03", "c.extxyz": "", "d.cif": ""}
    for kind in ("folder", "zip"):
        found = read_crystals(place(files, tmp_path, kind))
        assert [isinstance(e, BrokenEntry) for e in found] == [False, True, True, True]
        assert [e.source for e in found[1:]] == ["b.cif", "c.extxyz", "d.cif"]
        assert "zero bytes" in found[1].reason
        assert "empty" in found[2].reason
        assert "empty" in found[3].reason


@pytest.mark.parametrize("kind", ["cif.gz", "csv.gz", "json.xz", "zip", "tar.gz", "tar.bz2"])
def test_bombs_end_in_one_line(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("pyg_crysdiff.data.archives._ALWAYS_UNPACKED", 2**20)
    path = tmp_path / f"bomb.{kind}"
    zeros = b"0" * 2**25
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.cif", zeros)
    elif kind.startswith("tar"):
        path = place({"a.cif": zeros}, tmp_path, kind)
    else:
        path.write_bytes(gzip.compress(zeros) if kind.endswith("gz") else lzma.compress(zeros))
    assert path.stat().st_size < 2**19
    for read in (read_crystals, read_entries):
        with pytest.raises(ValueError, match=rf"{path.name}.*unpacks to more than") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[" * 100_000 + "]" * 100_000),
        ("a.json", '[{"sites": ' + "9" * 10_000 + "}]"),
        ("a.json", json.dumps({"a": [[[[1]]]]})),
        ("a.json", "null"),
        ("a.extxyz", "-2\n\n" * 3),
        ("a.extxyz", "99999999999999\n\n"),
        ("a.extxyz", "1_0\n\n"),
        ("a.csv", ""),
        ("a.csv", "\n\n\n"),
        ("a.csv", "cif\n"),
        ("a.csv", 'cif\n"open quote'),
    ],
)
def test_hostile_text_is_refused_in_one_line(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name) as caught:
        read_crystals(tmp_path / name)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.extxyz", '999999999\nLattice="1 0 0 0 1 0 0 0 1"\nH 0 0 0\n'),
        ("POSCAR", "x\n1\n1 0 0\n0 1 0\n0 0 1\nH\n999999999\nDirect\n0 0 0\n"),
        ("POSCAR", "x\n1\n1 0 0\n0 1 0\n0 0 1\nH\n" + "9" * 5000 + "\nDirect\n0 0 0\n"),
        ("a.json", '{"lattice": {"matrix": [[1,0,0],[0,1,0],[0,0,1e400]]}, "sites": []}'),
        ("a.json", '{"lattice": null, "sites": null}'),
        ("a.json", '{"lattice": {"matrix": 1}, "sites": {"a": 1}}'),
    ],
)
def test_absurd_numbers_break_the_entry(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    (found,) = read_crystals(tmp_path / name)
    assert isinstance(found, BrokenEntry)
    assert found.reason


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_encodings(encoding, crystals, cifs, tmp_path):
    note = "# café\n".encode(encoding)
    (tmp_path / "a.cif").write_bytes(note + cifs[0].encode(encoding))
    if encoding.startswith("utf-") and encoding != "utf-16-le":  # the mark stands once
        (tmp_path / "a.cif").write_bytes(("# café\n" + cifs[0]).encode(encoding))
    text = frames(crystals, tmp_path).replace("pbc", 'note="café" pbc')
    (tmp_path / "b.extxyz").write_bytes(text.encode(encoding))
    assert sizes(tmp_path / "a.cif") == [3]
    assert sizes(tmp_path / "b.extxyz") == [3, 1, 5]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0c", "\x1c"])
def test_signs_that_only_python_takes_for_line_ends(sign, crystals, cifs, tmp_path):
    text = frames(crystals, tmp_path).replace("pbc", f'note="a{sign}b" pbc')
    (tmp_path / "a.extxyz").write_text(text, encoding="utf-8")
    (tmp_path / "POSCAR").write_text(
        f"a{sign}b\n" + crystals[0].to_structure().to(fmt="poscar").split("\n", 1)[1],
        encoding="utf-8",
    )
    assert sizes(tmp_path / "a.extxyz") == [3, 1, 5]
    assert sizes(tmp_path / "POSCAR") == [3]


@pytest.mark.parametrize("ends", ["\r\n", "\r"])
def test_line_ends_of_other_systems(ends, crystals, cifs, tmp_path):
    (tmp_path / "a.cif").write_bytes(cifs[0].replace("\n", ends).encode())
    (tmp_path / "b.extxyz").write_bytes(frames(crystals, tmp_path).replace("\n", ends).encode())
    assert sizes(tmp_path / "a.cif") == [3]
    assert sizes(tmp_path / "b.extxyz") == [3, 1, 5]


CELL = 'Lattice="4 0 0 0 4 0 0 0 4"'


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.extxyz", f"1\n{CELL} Properties=species:S:1:pos:R:3\nX 0 0 0\n", "'X' is no element"),
        ("a.extxyz", f"1\n{CELL} Properties=pos:R:3:species:S:1\n0 0 0 Vac\n", "'Vac'"),
        ("a.extxyz", f"1\n{CELL} Properties=Z:I:1:pos:R:3\n0 0 0 0\n", "atomic number 0"),
        ("a.extxyz", f"1\n{CELL} Properties=Z:I:1:pos:R:3\n119 0 0 0\n", ""),
        ("a.extxyz", '1\nLattice="4 0 0 0 4 0 0 0 0"\nH 0 0 0\n', "flat"),
        ("a.extxyz", f'1\n{CELL} pbc="T T F"\nH 0 0 0\n', "not periodic"),
        ("POSCAR", "x\n1\n4 0 0\n0 4 0\n0 0 4\nH X\n1 1\nDirect\n0 0 0\n.5 .5 .5\n", "'X'"),
        ("POSCAR", "x\n1\n4 0 0\n0 4 0\n0 0 4\n1 1\nDirect\n0 0 0\n.5 .5 .5\n", "line of elements"),
        ("POSCAR", "x\n1\n4 0 0\n0 4 0\n0 0 4\nH He\n1\nDirect\n0 0 0\n", "2 elements"),
        ("POSCAR", "x\n1\n4 0 0\n0 4 0\n0 0 4\nH\n1\nDirect\n0 0 0\n.5 0 0\n", "2 lines of"),
        ("POSCAR", "x\n1\n4 0 0\n0 4 0\n0 0 4\nH\n3\nDirect\n0 0 0\n.5 0 0\n", "2 lines of"),
        ("POSCAR", "x\n1\n4 0 0\n0 4 0\n0 0 4\nH\n2\n0 0 0\n.5 0 0\n", "Direct or Cartesian"),
        ("POSCAR", "x\n1 1\n4 0 0\n0 4 0\n0 0 4\nH\n1\nDirect\n0 0 0\n", "scaling factor"),
        ("POSCAR", "x\n1 -1 1\n4 0 0\n0 4 0\n0 0 4\nH\n1\nDirect\n0 0 0\n", "none of three"),
        ("POSCAR", "x\n0\n4 0 0\n0 4 0\n0 0 4\nH\n1\nDirect\n0 0 0\n", "0 makes no cell"),
        ("POSCAR", "x\n-9\n4 0 0\n8 0 0\n0 0 4\nH\n1\nCartesian\n0 0 0\n", "span no cell"),
        ("a.extxyz", f"1\n{CELL} Properties=species:S:1:frac:R:3\nH 0 0 0\n", "one column pos"),
        ("a.extxyz", f"1\n{CELL} Properties=species:S:1:pos:R:2\nH 0 0\n", "one column pos"),
        ("a.extxyz", f"1\n{CELL} Properties=species:S:1\nH\n", "its columns are species (1)"),
    ],
)
def test_species_and_counts(name, text, reason, tmp_path):
    (tmp_path / name).write_text(text)
    (found,) = read_crystals(tmp_path / name)
    assert isinstance(found, BrokenEntry)
    assert reason in found.reason


@pytest.mark.parametrize("name", ["pos", "positions"])
def test_positions_of_extended_xyz(name, tmp_path):
    text = f"2\n{CELL} Properties=species:S:1:{name}:R:3:frac:R:3\nH 1 2 3 9 9 9\nH 0 0 0 9 9 9\n"
    (tmp_path / "a.extxyz").write_text(text)
    (found,) = read_crystals(tmp_path / "a.extxyz")
    np.testing.assert_allclose(found.frac_coords, [[0.25, 0.5, 0.75], [0, 0, 0]], atol=1e-12)


@pytest.mark.parametrize("mode", ["Direct", "Cartesian", "Selective\nCartesian", "kart"])
@pytest.mark.parametrize("scale", ["2", "-96", "2 3 .5", "1 1 1"])
def test_scaling_factors_of_poscar(mode, scale, tmp_path):
    """As ASE reads them: a factor, a volume, or a factor for each of x, y and z."""
    import ase.io

    text = f"x\n{scale}\n2 0 0\n1 3 0\n0 .5 2\nNa Cl\n1 1\n{mode}\n0 0 0 T T T\n.3 .2 .1 F T T\n"
    (tmp_path / "POSCAR").write_text(text)
    (found,) = read_crystals(tmp_path / "POSCAR")
    known = ase.io.read(io.StringIO(text), format="vasp")
    np.testing.assert_allclose(found.lattice, known.cell.array, rtol=1e-12)
    np.testing.assert_allclose(
        found.frac_coords, known.get_scaled_positions(wrap=False), atol=1e-12
    )
    if scale == "-96":
        assert found.volume == pytest.approx(96)


@pytest.mark.parametrize("symbol", ["D", "T", "H1+"])
def test_isotopes_are_hydrogen_in_every_format(symbol, tmp_path):
    species = {"element": symbol, "occu": 1}
    texts = {
        "a.extxyz": f"1\n{CELL} Properties=species:S:1:pos:R:3\n{symbol} 0 0 0\n",
        "POSCAR": f"x\n1\n4 0 0\n0 4 0\n0 0 4\n{symbol}\n1\nDirect\n0 0 0\n",
        "a.json": json.dumps({
            "lattice": {"matrix": (4 * np.eye(3)).tolist()},
            "sites": [{"species": [species], "abc": [0, 0, 0]}],
        }),
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert read_crystals(tmp_path / name)[0].atomic_numbers.tolist() == [1]


def test_poscars_of_vasp_4_and_of_long_lists(tmp_path, caplog):
    head = "1\n9 0 0\n0 9 0\n0 0 9\n"
    (tmp_path / "POSCAR").write_text(f"Na Cl\n{head}1 2\nDirect\n0 0 0\n.5 .5 0\n.5 0 0\n")
    (found,) = read_crystals(tmp_path / "POSCAR")
    assert found.atomic_numbers.tolist() == [11, 17, 17]
    assert "1 of 1 entries read with a warning, first: POSCAR: no line of elements" in caplog.text
    symbols, counts = "Fe_pv Cr/a1b2\nNi", "1 1\n1"
    rows = "0 0 0 T T F\n.5 .5 0 F F F\n.5 0 0 T T T\n\n0 0 0\n0 0 0\n0 0 0\n"
    (tmp_path / "POSCAR").write_text(f"x\n{head}{symbols}\n{counts}\nSelective\nDirect\n{rows}")
    assert read_crystals(tmp_path / "POSCAR")[0].atomic_numbers.tolist() == [26, 24, 28]


def test_a_dummy_of_pymatgen_is_no_crystal():
    structure = Structure(Lattice.cubic(4), ["Na", "X"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match="'X' is no element"):
        Crystal.from_structure(structure)
