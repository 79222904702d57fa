"""Files into a database: every kind, nothing twice, on from where a kill came."""

import gzip
import json
from contextlib import contextmanager

import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.data import read_crystals
from pyg_crysdiff.data.writers import crystal_to_cif, crystals_to_extxyz, save_cdvae
from pyg_crysdiff.known import Database, index_source, open_source
from pyg_crysdiff.known.sources import Source
from tests.conftest import zipped
from tests.kills import Commands
from tests.known.crystals import perovskites


def csv(crystals):
    rows = [f'm-{i},"{crystal_to_cif(c)}"' for i, c in enumerate(crystals)]
    return "\n".join(["material_id,cif", *rows]) + "\n"


def write(folder, kind):
    """Write four crystals in a format; return the path."""
    crystals = [c.oriented() for c in perovskites(4)]
    cifs = {f"{i}.cif": crystal_to_cif(c) for i, c in enumerate(crystals)}
    path = folder / f"file.{kind}"
    if kind == "folder":
        path.mkdir()
        for name, text in cifs.items():
            (path / name).write_text(text)
    elif kind == "pt":
        save_cdvae(crystals, path)
    elif kind == "zip":
        path.write_bytes(zipped(cifs))
    elif kind == "csv.gz":
        path.write_bytes(gzip.compress(csv(crystals).encode()))
    elif kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        pq = pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"cif": list(cifs.values())}), path)
    else:
        dicts = [c.to_structure().as_dict() for c in crystals]
        path.write_text({
            "csv": csv(crystals),
            "extxyz": crystals_to_extxyz(crystals),
            "cif": "".join(cifs.values()),
            "json": json.dumps(dicts),
            "jsonl": "\n".join(json.dumps(d) for d in dicts),
        }[kind])  # fmt: skip
    return path


KINDS = [
    "csv", "csv.gz", "extxyz", "cif", "json", "jsonl", "zip", "folder", "pt", "parquet",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(kind, tmp_path):
    path = write(tmp_path, kind)
    database = Database(tmp_path / "known.sqlite", create=True)
    (source,) = open_source(path)
    added = index_source(database, source, num_workers=0)
    assert (added.entries, added.new, added.unreadable) == (4, 4, 0)
    expected = [c.digest() for c in read_crystals(path, num_workers=0)]
    assert [c.digest() for c in database.crystals()] == expected
    assert index_source(database, source, num_workers=0) is None


def test_the_command_adds_data_sets_files_and_databases(tmp_path, capsys):
    (tmp_path / "a.extxyz").write_text(crystals_to_extxyz(perovskites(3)))
    known, more = str(tmp_path / "known.sqlite"), str(tmp_path / "more.sqlite")
    main(["index", "demo", str(tmp_path / "a.extxyz"), "--out", known, "--workers", "0"])
    said = capsys.readouterr().out
    assert "demo train: 777 entries read: 777 crystals added, 0 there already, 0 unr" in said
    assert f"{known}: 1," in said
    main(["index", "demo", "--out", known, "--workers", "0"])
    assert "demo train: added before, skipped" in capsys.readouterr().out
    main(["index", str(tmp_path / "a.extxyz"), "--out", more, "--workers", "0"])
    main(["index", more, "--out", str(tmp_path / "third.sqlite"), "--workers", "0"])
    assert len(Database(tmp_path / "third.sqlite")) == 3
    capsys.readouterr()
    (tmp_path / "known.sqlite").rename(known := str(tmp_path / "known"))
    main(["index", known])
    said = capsys.readouterr().out
    assert f"{known}: {len(Database(known)):,} crystals of" in said
    assert "demo val: 87 crystals of 87 entries, 0 unreadable" in said


def test_what_the_command_refuses(tmp_path, capsys):
    text = tmp_path / "a.extxyz"
    text.write_text(crystals_to_extxyz(perovskites(2)))
    for words, reason in (
        (["index", str(text)], "Name the database: --out known.sqlite"),
        (["index", str(tmp_path / "no.csv"), "--out", str(tmp_path / "k.sqlite")], "no file or"),
        (["index", str(tmp_path / "no.sqlite")], "no database of known crystals at"),
        (["index", str(text), "--out", str(text)], "is no SQLite file"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert reason in capsys.readouterr().err
    assert text.read_text() == crystals_to_extxyz(perovskites(2))


def test_broken_rows_are_told_with_file_and_row(tmp_path, capsys):
    rows = csv(perovskites(3)).replace("_cell_length_b", "_cell_length_x", 2)
    (tmp_path / "t.csv").write_text(rows)
    known = str(tmp_path / "known.sqlite")
    main(["index", str(tmp_path / "t.csv"), "--out", known, "--workers", "0"])
    said = capsys.readouterr().out
    assert "3 entries read: 1 crystals added, 0 there already, 2 unreadable" in said
    assert "    t.csv, row 0: " in said
    assert said.index("row 0: ") < said.index("row 1: ")
    places = [place for place, _ in Database(known).unreadable()]
    assert places == ["t.csv, row 1", "t.csv, row 0"]
    assert list(Database(known).unreadable("other.csv")) == []
    (tmp_path / "t.csv").write_text(rows + csv(perovskites(2)[1:]).split("\n", 1)[1])
    main(["index", str(tmp_path / "t.csv"), "--out", known, "--workers", "0"])
    said = capsys.readouterr().out
    assert "4 entries read: 1 crystals added, 1 there already, 2 unreadable" in said
    assert said.count("row 0: ") == 1


def test_a_file_that_grew_adds_what_is_new(tmp_path):
    crystals = perovskites(9)
    database = Database(tmp_path / "known.sqlite", create=True)
    path = tmp_path / "t.csv"
    for count, new in ((5, 5), (9, 4)):
        path.write_text(csv(crystals[:count]))
        added = index_source(database, open_source(path)[0], block=2, num_workers=0)
        assert (added.entries, added.new, added.present) == (count, new, count - new)
    facts = database.sources()
    assert [(s.entries, s.crystals, s.is_whole) for s in facts] == [(5, 5, True), (9, 4, True)]


def test_it_goes_on_behind_the_last_whole_block(tmp_path):
    crystals, taken = perovskites(40), []

    def items(stop):
        for k, crystal in enumerate(crystals):
            if k == stop:
                raise KeyboardInterrupt
            taken.append(k)
            yield crystal

    database = Database(tmp_path / "known.sqlite", create=True)
    with pytest.raises(KeyboardInterrupt):
        index_source(database, Source("s", "d", lambda: items(27)), block=8, num_workers=0)
    assert len(database) == 24
    assert not database.sources()[0].is_whole
    added = index_source(database, Source("s", "d", lambda: items(99)), block=8, num_workers=0)
    assert (added.entries, added.new) == (16, 16)
    assert [c.digest() for c in database.crystals()] == [c.digest() for c in crystals]


def test_a_source_without_end_is_read_block_by_block(tmp_path):
    """A list of it would never be whole."""

    def endless():
        while True:
            yield from perovskites(4)
            if len(database) == 4:
                raise KeyboardInterrupt

    database = Database(tmp_path / "known.sqlite", create=True)
    with pytest.raises(KeyboardInterrupt):
        index_source(database, Source("s", "d", endless), block=6, num_workers=0)


SCRIPT = """
import sys
from pyg_crysdiff.known import Database, index_source, open_source
database = Database(sys.argv[2], create=True)
for source in open_source(sys.argv[1]):
    index_source(database, source, block=8, num_workers=0)
"""


@contextmanager
def suppress_only(kind, words):
    """Let an error pass that says these words, and no other."""
    try:
        yield
    except kind as error:
        if words not in str(error):
            raise


def test_kills_leave_a_whole_database_and_the_same_command_goes_on(tmp_path):
    script, table = tmp_path / "add.py", tmp_path / "t.csv"
    script.write_text(SCRIPT)
    table.write_text(csv(perovskites(64)))
    with Commands(tmp_path) as commands:
        whole = commands.run([script, table, tmp_path / "whole.sqlite"])
        assert whole.code == 0, whole.said
        expected = Database(tmp_path / "whole.sqlite")
        between = set()
        for k in range(6):
            path = tmp_path / f"{k}.sqlite"
            killed = commands.run([script, table, path], kill_after=(k + 0.5) / 6 * whole.seconds)
            assert killed.code in (0, -9), killed.said
            if path.exists() and path.stat().st_size:
                # It may have been killed before there were tables.
                with suppress_only(ValueError, "holds nothing yet"):
                    found = Database(path)
                    assert len(list(found.crystals())) == len(found)
                    between.add(len(found))
            again = commands.run([script, table, path])
            assert again.code == 0, again.said
            assert Database(path).digest() == expected.digest()
            assert Database(path).sources() == expected.sources()
    assert any(0 < count < 64 for count in between)
