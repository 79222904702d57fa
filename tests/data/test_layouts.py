"""JSON and tensor files in the layouts of others; nothing in them is executed."""

import argparse
import datetime as dt
import json
import pathlib
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Batch, HeteroData

from pyg_crysdiff.data import BrokenEntry, read_crystals
from pyg_crysdiff.data.parsing import convert_entries, read_entries
from pyg_crysdiff.data.writers import save_cdvae
from tests.conftest import make_crystal


@pytest.fixture
def crystals(rng):
    return [make_crystal(rng, n) for n in (3, 1, 5)]


@pytest.fixture
def dicts(crystals):
    return [c.to_structure().as_dict() for c in crystals]


def table(dicts, orient, **renamed):
    frame = pd.DataFrame({"material_id": ["a", "b", "c"], "structure": dicts, "e": [0.5, None, 2]})
    return frame.rename(columns=renamed).to_json(orient=orient, lines=orient == "lines")


@pytest.mark.parametrize("orient", ["split", "records", "index", "columns", "values", "table"])
@pytest.mark.parametrize("renamed", [{}, {"structure": "relaxed"}])
def test_the_orients_of_pandas(orient, renamed, dicts, tmp_path):
    (tmp_path / "a.json").write_text(table(dicts, orient, **renamed))
    assert [len(c) for c in read_crystals(tmp_path / "a.json")] == [3, 1, 5]
    if orient != "values":
        read = read_entries(tmp_path / "a.json")
        assert read.names == ["e"]
        assert [e.material_id for e in read.entries] == ["a", "b", "c"]
        np.testing.assert_array_equal([e.properties["e"] for e in read.entries], [0.5, np.nan, 2])


def in_numpy(structure):
    array = {"@module": "numpy", "@class": "array", "dtype": "float64"}
    matrix = {**array, "data": structure["lattice"]["matrix"]}
    return {**structure, "lattice": {**structure["lattice"], "matrix": matrix}}


@pytest.mark.parametrize(
    "layout",
    [
        lambda d: d,
        lambda d: dict(zip("abc", d, strict=True)),
        lambda d: {k: {"structure": s, "e": 1} for k, s in zip("abc", d, strict=True)},
        lambda d: {"meta": {"version": 1}, "structures": d},
        lambda d: {"structure": d, "e": [1, 2, 3]},
        lambda d: [{"structure": json.dumps(s)} for s in d],
        lambda d: [in_numpy(s) for s in d],
        lambda d: [{"initial": s, "structure": s} for s in d],
    ],
)
def test_other_layouts(layout, dicts, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(layout(dicts)))
    assert [len(c) for c in read_crystals(tmp_path / "a.json")] == [3, 1, 5]


def properties_of(path, name):
    """Values of a property by name of the crystal, and why the others are none."""
    read = read_entries(path)
    found, broken = convert_entries(read.entries, num_workers=0, progress=False)
    return {c.info["material_id"]: c.info[name] for c in found}, [b.reason for b in broken]


def test_columns_whose_keys_stand_in_another_order_go_together(dicts, tmp_path, caplog):
    content = {
        "structure": {"x": dicts[0], "y": dicts[1]},
        "e": {"y": 2.0, "x": 1.0},
        "part": {"x": 5.0},
        "source": "somewhere",
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert properties_of(tmp_path / "a.json", "e") == ({"x": 1.0, "y": 2.0}, [])
    assert "'part', 'source' left out: not a value for each of the 2" in caplog.text


@pytest.mark.parametrize("value", ["1e400", "-Infinity", "Infinity", "9" * 400])
def test_infinite_properties_in_json_break_their_entry(value, dicts, tmp_path):
    one, two = json.dumps(dicts[0]), json.dumps(dicts[1])
    text = f'{{"a": {{"structure": {one}, "e": {value}}}, "b": {{"structure": {two}, "e": NaN}}}}'
    (tmp_path / "a.json").write_text(text)
    found, reasons = properties_of(tmp_path / "a.json", "e")
    assert list(found) == ["b"]
    assert np.isnan(found["b"])
    assert len(reasons) == 1
    assert "property 'e' is" in reasons[0]
    assert "inf" in reasons[0]


@pytest.mark.parametrize(
    ("values", "said"),
    [([1.5, "2,5"], "'e' ('2,5')"), (["1.5", "2"], "'e' ('1.5')"), (["metal", "oxide"], None),
     ([1.5, None], None), ([1.5, True], None)],
)  # fmt: skip
def test_texts_in_the_place_of_numbers_are_said(values, said, dicts, tmp_path, caplog):
    rows = [
        {"structure": d, "e": v, "id": "7", "formula": "X"}
        for d, v in zip(dicts, values, strict=False)
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert len(read_crystals(tmp_path / "a.json")) == 2
    if said is None:
        assert "texts" not in caplog.text
    else:
        assert f"not read as properties: {said}; write numbers" in caplog.text


@pytest.mark.parametrize("layout", [lambda s: s, lambda s: {"structure": s, "e": 1.0}])
def test_one_structure(layout, dicts, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(layout(dicts[0])))
    assert [len(c) for c in read_crystals(tmp_path / "a.json")] == [3]


def test_one_structure_per_line(dicts, tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, dicts)) + "\n")
    assert [len(c) for c in read_crystals(tmp_path / "a.jsonl")] == [3, 1, 5]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"rows": [], "dataset": "x"}, "its keys are 'rows', 'dataset'"),
        ({"a": 1, "b": {"c": 2}}, "pandas"),
        ([1, 2], "known layouts"),
        ("text", "known layouts"),
        ([], "holds no structures"),
    ],
)
def test_json_without_structures_is_no_list_of_entries(content, reason, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"a\.json.*{reason}"):
        read_crystals(tmp_path / "a.json")


def test_two_columns_of_structures(dicts, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"first": d, "last": d} for d in dicts]))
    with pytest.raises(ValueError, match="several columns hold structures"):
        read_crystals(tmp_path / "a.json")


def test_an_entry_without_structure_stands_in_its_place(dicts, tmp_path):
    molecule = {k: v for k, v in dicts[0].items() if k != "lattice"}
    slab = {**dicts[0], "lattice": {**dicts[0]["lattice"], "pbc": [True, True, False]}}
    half = json.loads(json.dumps(dicts[0]))
    half["sites"][0]["species"][0]["occu"] = 0.5
    dummy = json.loads(json.dumps(dicts[0]))
    dummy["sites"][0]["species"][0]["element"] = "X0+"
    items = [dicts[0], None, molecule, slab, half, dummy, dicts[1]]
    (tmp_path / "a.json").write_text(json.dumps(items))
    found = read_crystals(tmp_path / "a.json")
    reasons = [e.reason if isinstance(e, BrokenEntry) else "" for e in found]
    for reason, part in zip(
        reasons[1:-1], ["no pymatgen structure", "molecule", "not periodic", "disordered", "X0"],
        strict=True,
    ):  # fmt: skip
        assert part in reason
    assert reasons[0] == reasons[-1] == ""


def test_json_names_no_code(dicts, tmp_path):
    dicts[0]["properties"] = {"x": {"@module": "this_module_is_not_there", "@class": "Y"}}
    dicts[0]["sites"][0]["properties"] = {"x": {"@module": "antigravity", "@class": "Y"}}
    (tmp_path / "a.json").write_text(json.dumps(dicts))
    assert [len(c) for c in read_crystals(tmp_path / "a.json")] == [3, 1, 5]
    assert "antigravity" not in sys.modules


def beside(crystals):
    batch = Batch.from_data_list([c.to_data(energy=1.0) for c in crystals])
    return {
        "batch": {"input_data_batch": batch},
        "hetero": {"input_data_batch": Batch.from_data_list([HeteroData()])},
        "settings": {
            "eval_setting": argparse.Namespace(path=pathlib.Path("/x/y")),
            "time": dt.timedelta(seconds=3),
            "on": dt.datetime(2024, 1, 1),
        },
        "numbers": {"score": np.float64(1.0), "names": np.array(["a", "b"])},
    }


@pytest.mark.parametrize("what", ["batch", "hetero", "settings", "numbers"])
def test_objects_beside_the_tensors_are_left_alone(what, crystals, tmp_path):
    save_cdvae(crystals, tmp_path / "s.pt")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    torch.save({**content, **beside(crystals)[what]}, tmp_path / "t.pt")
    assert [len(c) for c in read_crystals(tmp_path / "t.pt")] == [3, 1, 5]


@pytest.mark.parametrize("core", ["core", "_core"])
def test_arrays_of_numpy_1_and_2(core, crystals, tmp_path):
    save_cdvae(crystals, tmp_path / "s.pt")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    arrays = {k: v.numpy() for k, v in content.items() if torch.is_tensor(v)}
    torch.save(arrays, tmp_path / "t.pt", _use_new_zipfile_serialization=True)
    data = (tmp_path / "t.pt").read_bytes()
    assert b"numpy._core" in data or b"numpy.core" in data
    if core == "core":  # the same length, so that the archive stays whole but for its checksum
        import zipfile

        with (
            zipfile.ZipFile(tmp_path / "t.pt") as old,
            zipfile.ZipFile(tmp_path / "u.pt", "w") as new,
        ):
            for info in old.infolist():
                new.writestr(info.filename, old.read(info).replace(b"numpy._core", b"numpy.core"))
        (tmp_path / "u.pt").replace(tmp_path / "t.pt")
    assert [len(c) for c in read_crystals(tmp_path / "t.pt")] == [3, 1, 5]


class _Evil:
    def __reduce__(self):
        return (exec, ("import builtins; builtins.executed = True",))


@pytest.mark.parametrize("place", ["beside", "within a list", "as the tensors"])
def test_code_is_named_and_not_executed(place, crystals, tmp_path):
    import builtins

    save_cdvae(crystals, tmp_path / "s.pt")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    added = {"beside": {"x": _Evil()}, "within a list": {"x": [[_Evil()]]},
             "as the tensors": {"frac_coords": _Evil()}}[place]  # fmt: skip
    torch.save({**content, **added}, tmp_path / "t.pt")
    with pytest.raises(ValueError, match=r"t\.pt holds objects that are no data \(.*exec\)"):
        read_crystals(tmp_path / "t.pt")
    assert not hasattr(builtins, "executed")


def test_a_view_of_absurd_size(crystals, tmp_path):
    save_cdvae(crystals, tmp_path / "s.pt")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    content["frac_coords"] = torch.zeros(1).expand(1, 10**10, 3)
    torch.save(content, tmp_path / "t.pt")
    with pytest.raises(ValueError, match=r"t\.pt: frac_coords has 30000000000 numbers"):
        read_crystals(tmp_path / "t.pt")


@pytest.mark.parametrize("number", [0, 119, -1])
def test_species_of_a_tensor_file(number, crystals, tmp_path):
    save_cdvae(crystals, tmp_path / "s.pt")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    content["atom_types"][0, 0] = number
    torch.save(content, tmp_path / "t.pt")
    found = read_crystals(tmp_path / "t.pt")
    assert f"atomic number {number} is no element" in found[0].reason
    assert [len(c) for c in found[1:]] == [1, 5]
