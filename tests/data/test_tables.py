"""Tables of properties: whose row is whose, what is a number, and what is said about the rest."""

import gzip

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.data.parsing import convert_entries, read_entries
from pyg_crysdiff.data.writers import crystal_to_cif, write_extxyz
from tests.conftest import make_crystal


@pytest.fixture
def cif(rng):
    return crystal_to_cif(make_crystal(rng, 2))


@pytest.fixture
def folder(tmp_path, cif):
    """A folder with files of the given names, and tables."""

    def make(files, **tables):
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(cif)
        for name, table in tables.items():
            data = table if isinstance(table, bytes) else table.encode()
            (tmp_path / f"{name}.csv").write_bytes(data)
        return tmp_path

    return make


def values(path, name, properties=None):
    """Properties of the readable crystals by name, and the reasons for the others."""
    read = read_entries(path, properties)
    crystals, broken = convert_entries(read.entries, num_workers=0, progress=False)
    return {c.info["material_id"]: c.info[name] for c in crystals}, [
        f"{b.source}: {b.reason}" for b in broken
    ]


THREE = {"0": 5.0, "1": 6.0, "2": 7.0}


@pytest.mark.parametrize(
    "table",
    [
        ",id,gap\n0,2,7\n1,0,5\n2,1,6\n",  # the index of pandas in front
        "gap,id\n7,2\n5,0\n6,1\n",
        "gap,file\n7,2.cif\n5,0.cif\n6,1.cif\n",
        "id;gap\n2;7\n0;5\n1;6\n",
        "id\tgap\n2\t7\n0\t5\n1\t6\n",
        "2,7\n0,5\n1,6\n",  # without a header
        "2.cif, 7\r\n0.cif, 5\r\n1.cif, 6\r\n",
        ",gap\n0,5\n1,6\n2,7\n",
        "index,cif_name,gap\n1,2.cif,7\n2,0.cif,5\n3,1.cif,6\n",  # counters with a name
        "id,material_id,gap\n0,2,7\n1,0,5\n2,1,6\n",
        "rank,sample,gap\n0,2,7\n1,0,5\n2,1,6\n",
        "id,group,gap\n0,1,5\n1,1,6\n2,0,7\n",  # whole numbers that are no names of files
        "id,group,gap\n0,7,5\n1,2,6\n2,0,7\n",
        "0,1,5\n1,1,6\n2,0,7\n",
    ],
)
def test_every_file_gets_its_own_value(table, folder):
    path = folder(["0.cif", "1.cif", "2.cif"], props=table)
    read = read_entries(path)
    name = read.names[-1]  # the value stands behind what else is a number
    assert name == "gap" if "gap" in table else name.startswith("property")
    assert values(path, name) == (THREE, [])


@pytest.mark.parametrize(
    ("files", "table", "found"),
    [
        (["001.cif", "010.cif"], "id,x\n010,2.5\n001,1.5\n", {"001": 1.5, "010": 2.5}),
        (["NA.cif", "None.cif", "1e3.cif"], "id,x\nNA,1.5\nNone,2.5\n1e3,3.5\n",
         {"NA": 1.5, "None": 2.5, "1e3": 3.5}),
        (["a b.cif", "é.cif"], "id,x\na b,1.5\né,2.5\n", {"a b": 1.5, "é": 2.5}),
        (["a.cif", "sub/b.cif"], "id,x\na,1.5\nsub/b,2.5\n", {"a": 1.5, "sub/b": 2.5}),
        (["a.v2.cif", "b.v2.cif"], "id,x\na.v2,1.5\nb.v2.cif,2.5\n", {"a.v2": 1.5, "b.v2": 2.5}),
    ],
)  # fmt: skip
def test_names_are_text(files, table, found, folder):
    assert values(folder(files, props=table), "x") == (found, [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_encodings_of_a_table(encoding, folder):
    path = folder(["é.cif", "b.cif"], props="id,x\né,1.5\nb,2.5\n".encode(encoding))
    assert values(path, "x") == ({"é": 1.5, "b": 2.5}, [])


def test_one_file_without_row_and_one_row_without_file(folder):
    path = folder(["a.cif", "b.cif", "c.cif"], props="id,x\na,1.5\nb,2.5\nz,3.5\n")
    found, reasons = values(path, "x")
    assert found == {"a": 1.5, "b": 2.5}
    assert reasons == [
        "c.cif: props.csv has no row for it",
        "props.csv, row 2: it names 'z', for which there is no file",
    ]


@pytest.mark.parametrize("properties", [None, ["x"]])
def test_a_word_among_numbers_and_a_gap(properties, folder):
    path = folder([f"{n}.cif" for n in "abcd"], props="id,x\na,1.5\nb,metal\nc,\nd,4.5\n")
    found, reasons = values(path, "x", properties)
    assert list(found) == ["a", "c", "d"]
    assert np.isnan(found["c"])
    assert reasons == ["b.cif: props.csv, row 1: property 'x' is 'metal', not a number"]


def test_an_infinite_value_breaks_its_entry(folder):
    path = folder(["a.cif", "b.cif"], props="id,x\na,inf\nb,2.5\n")
    assert values(path, "x") == ({"b": 2.5}, ["a.cif: property 'x' is inf"])


@pytest.mark.parametrize(
    ("tables", "properties", "reason"),
    [
        ({"t": "id,x\na,1\na.cif,2\nb,3\n"}, None, "rows 0 and 1 both name a.cif"),
        ({"t": "id,x\na,1\na,1\nb,3\n"}, None, "rows 0 and 1 both name a.cif"),
        ({"t": "id,x,x\na,1,2\nb,3,4\n"}, None, "more than one column 'x'"),
        ({"t": "id,x\np,1\nq,2\n"}, None, "no column of t.csv"),
        ({"t": "id,x\na,1\nb,2\n", "u": "id,y\na,1\nb,2\n"}, None, "several tables"),
        ({"t": "id,x\na,1\nb,2\n"}, ["y"], "no property columns"),
        ({"t": "id,x\na,one\nb,two\n"}, ["x"], "row 0: property 'x' is 'one', not a number"),
        ({}, ["y"], "none and no CSV"),
        ({"t": "id,x\na,1,2,3\nb,2\n"}, None, "cannot be read as CSV"),
        ({"t": "old,new,x\na.cif,b.cif,1\nb.cif,a.cif,2\n"}, None, "'old' and 'new' both name"),
        ({"t": "id,name,x\na,b,1\nb,a,2\n"}, None, "'id' and 'name' both name files"),
    ],
)
def test_tables_that_cannot_be_used(tables, properties, reason, folder):
    with pytest.raises(ValueError, match=reason):
        read_entries(folder(["a.cif", "b.cif"], **tables), properties)


def test_zeros_that_a_spreadsheet_took_are_named(folder):
    with pytest.raises(ValueError, match=r"has '1' for '001'.*zeros are lost"):
        read_entries(folder(["001.cif", "002.cif"], t="id,x\n1,5\n2,6\n"))


def test_the_fitting_of_several_tables_is_taken(folder):
    path = folder(["a.cif", "b.cif"], t="id,x\na,1\nb,2\n", u="element,mass\nH,1\nHe,4\n")
    read = read_entries(path)
    assert read.names == ["x"]
    assert "u.csv" in read.left_out
    two = folder([], u="id,y\na,1\nb,2\n")
    assert read_entries(two, ["y"]).names == ["y"]


def test_a_row_that_may_mean_two_files(folder):
    path = folder(["a.cif", "x/a.cif", "b.cif"], t="id,x\na,1\nb,2\n")
    found, reasons = values(path, "x")
    assert found == {"b": 2.0}
    assert all("'a' may mean" in reason for reason in reasons)


def test_why_columns_are_no_properties(folder):
    table = ",id,split,formula,gap,empty,stable,num_atoms,index\n" + "".join(
        f"{i},{n},train,NaCl,{g},,{s},2,{i}\n"
        for i, (n, g, s) in enumerate(
            [("a", "1.5", "True"), ("b", "", "False"), ("c", "3.5", "True")]
        )
    )
    read = read_entries(folder(["a.cif", "b.cif", "c.cif"], t=table))
    assert read.names == ["gap", "stable", "num_atoms"]
    assert read.left_out == {
        "Unnamed: 0": "row counter", "id": "identifier", "split": "name of the split",
        "formula": "not numeric", "empty": "empty", "index": "row counter",
    }  # fmt: skip
    assert [e.properties["stable"] for e in read.entries] == [1.0, 0.0, 1.0]
    entries, names = read
    assert names == read.names
    assert len(entries) == 3


def test_a_table_with_cif_text(tmp_path, cif):
    table = pd.DataFrame({
        "material_id": ["001", "NA", "c", "d"], "cif": [cif, cif, "no crystal", cif],
        "x": ["1.5", "", "2.5", "metal"], "note": ["a", "b", "c", "d"],
    })  # fmt: skip
    table.to_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(table.to_csv().encode("utf-16")))
    for name in ("t.csv", "t.csv.gz"):
        read = read_entries(tmp_path / name)
        assert read.names == ["x"]
        assert read.left_out["note"] == "not numeric"
        found, reasons = values(tmp_path / name, "x")
        assert found["001"] == 1.5
        assert np.isnan(found["NA"])
        assert len(reasons) == 2
        assert reasons[1] == f"{name}, row 3: property 'x' is 'metal', not a number"
    table.to_csv(tmp_path / "bare.csv", index=False, header=False)
    with pytest.raises(ValueError, match="no header"):
        read_entries(tmp_path / "bare.csv")


def test_names_of_columns_are_read_without_case(tmp_path, cif):
    pd.DataFrame({"Material_ID": ["x1", "x2"], "cif": [cif, cif]}).to_csv(tmp_path / "t.csv")
    read = read_entries(tmp_path / "t.csv")
    assert [entry.material_id for entry in read.entries] == ["x1", "x2"]
    assert read.left_out["Material_ID"] == "identifier"


def test_one_of_several_columns_of_cif_text_must_be_named(tmp_path, cif):
    columns = {"initial_cif": [cif], "relaxed_cif": [cif], "x": [1.0]}
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match=r"\['initial_cif', 'relaxed_cif'\]"):
        read_entries(tmp_path / "t.csv")
    assert len(read_entries(tmp_path / "t.csv", cif_column="relaxed_cif").entries) == 1


def test_the_numbers_in_extended_xyz_are_properties(tmp_path, rng):
    from pyg_crysdiff.data import Crystal

    crystals = [make_crystal(rng, 2) for _ in range(3)]
    infos = [{"gap": 0.5, "row": 0, "label": "a"}, {"gap": 1, "row": 1}, {"row": 2}]
    marked = [Crystal(c.lattice, c.frac_coords, c.atomic_numbers, i)
              for c, i in zip(crystals, infos, strict=True)]  # fmt: skip
    write_extxyz(marked, tmp_path / "a.extxyz")
    read = read_entries(tmp_path / "a.extxyz")
    assert read.names == ["gap"]
    np.testing.assert_array_equal([e.properties["gap"] for e in read.entries], [0.5, 1, np.nan])
    with pytest.raises(ValueError, match=r"no properties \['y'\]"):
        read_entries(tmp_path / "a.extxyz", ["y"])


@pytest.mark.parametrize("value", ["1e400", "-inf", "inf"])
def test_an_infinite_number_in_extended_xyz_breaks_its_entry(value, tmp_path):
    frame = '1\nLattice="4 0 0 0 4 0 0 0 4" gap={}\nH 0 0 0\n'
    (tmp_path / "a.extxyz").write_text(frame.format(value) + frame.format("2.5"))
    found, reasons = values(tmp_path / "a.extxyz", "gap")
    assert found == {"a.extxyz:1": 2.5}
    assert len(reasons) == 1
    assert "property 'gap' is" in reasons[0]


@pytest.mark.parametrize(
    ("word", "said"),
    [('"1,5"', "'1,5'"), ("5%", "'5%'"), ("1.0D+02", "'1.0D+02'"), ("label", None), ("1.5", None),
     ('"0.5 0.5"', None)],
)  # fmt: skip
def test_what_is_nearly_a_number_in_extended_xyz_is_said(word, said, tmp_path, caplog):
    (tmp_path / "a.extxyz").write_text(f'1\nLattice="4 0 0 0 4 0 0 0 4" gap={word}\nH 0 0 0\n')
    values(tmp_path / "a.extxyz", "material_id")
    assert (f"gap is {said}, not a number" in caplog.text) == (said is not None)


@pytest.mark.parametrize("name", ["a.pt", "a.xlsx"])
def test_what_no_model_is_trained_on(name, tmp_path):
    (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match="no data to train on"):
        read_entries(tmp_path / name)
