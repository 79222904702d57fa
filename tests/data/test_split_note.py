"""A folder that is cut in a way of its own says so in split.txt; results name it."""

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.data.splits import split_note
from tests.data.test_published import carbon_csv


def test_the_note_is_the_first_line(tmp_path):
    assert split_note(tmp_path) is None
    (tmp_path / "split.txt").write_text(" by year \nand more\n")
    assert split_note(tmp_path) == "by year"
    (tmp_path / "split.txt").write_bytes(b"\xff" * 10_000)
    assert len(split_note(tmp_path)) <= 100
    (tmp_path / "split.txt").write_text("\n")
    assert split_note(tmp_path) is None


def test_a_published_set_and_an_own_one_take_their_name_from_it(tmp_path, rng):
    folder = tmp_path / "data" / "carbon_24"
    for name in ("train", "val", "test"):
        carbon_csv(folder / f"{name}.csv", rng, 10)
    (folder / "split.txt").write_text("by size\n")
    options = {"root": tmp_path / "c"}
    published = load_dataset("carbon24", "test", source=tmp_path / "data", **options)
    assert published.split_description == "by size"
    small = load_dataset(
        "carbon24", "train", source=tmp_path / "data", scheme="val-as-train", **options
    )
    assert small.split_description == "val-as-train of by size"
    own = load_dataset(folder, "test", properties=["energy_per_atom"], **options)
    assert own.split_description == "by size"
    (folder / "split.txt").unlink()
    assert load_dataset(folder, "test", **options).split_description == "as given"
