"""The file: what it holds, what it refuses, who may read it when."""

import pickle
import signal
import sqlite3
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.data.formulas import anonymous_formula, reduced_formula
from pyg_crysdiff.known import Database, files
from pyg_crysdiff.known.cells import matching_key
from pyg_crysdiff.known.packing import pack, unpack
from tests.known.crystals import networks, perovskites

ROOT = Path(__file__).parents[2]


def made(folder, crystals, name="known.sqlite"):
    database = Database(folder / name, create=True)
    database.add(crystals, source="mine", num_workers=0)
    return database


def same(a, b):
    return (
        np.array_equal(a.lattice, b.lattice)
        and np.array_equal(a.frac_coords, b.frac_coords)
        and np.array_equal(a.atomic_numbers, b.atomic_numbers)
    )


def test_a_packed_crystal_is_the_same_to_the_last_bit(rng):
    for crystal in networks(5, rng):
        found = unpack(pack(crystal.lattice, crystal.frac_coords, crystal.atomic_numbers))
        assert found.digest() == crystal.digest()
    with pytest.raises(ValueError, match="damaged"):
        unpack(b"nothing")


def test_crystals_come_back_by_formula_with_key_and_name(tmp_path):
    crystals = perovskites(30)
    database = made(tmp_path, crystals)
    assert len(database) == 30
    wanted = [reduced_formula(c) for c in crystals[:3]]
    found = list(database.of_formulas([*wanted, "NaCl"]))
    expected = [c for c in crystals if reduced_formula(c) in wanted]
    assert len(found) == len(expected)
    for key, row, crystal in found:
        assert same(crystal, crystals[row - 1])
        assert crystal.info["material_id"] == crystals[row - 1].info["material_id"]
        assert key == matching_key(crystal)[0]
    assert [c.digest() for c in database.crystals()] == [c.digest() for c in crystals]


def test_reduced_cells_are_those_of_the_crystal_to_the_last_bit(tmp_path, rng):
    crystals = networks(10, rng)
    database = made(tmp_path, crystals)
    for crystal in crystals:
        key, cell = matching_key(crystal)
        kept = dict(database.cells(key))
        assert any(
            np.array_equal(k.lattice, cell.lattice.matrix)
            and np.array_equal(k.frac_coords, cell.frac_coords)
            for k in kept.values()
        )
    assert sum(database.keys(["C"]).values()) == 10


def test_nothing_is_there_twice(tmp_path):
    crystals = perovskites(20)
    database = made(tmp_path, crystals[:12])
    added = database.add([*crystals, *crystals], num_workers=0)
    assert (added.entries, added.new, added.present, added.unreadable) == (40, 8, 32, 0)
    assert len(database) == 20


def test_the_digest_tells_what_is_in_it_and_not_its_order(tmp_path):
    crystals = perovskites(20)
    a = made(tmp_path, crystals, "a.sqlite")
    b = made(tmp_path, crystals[:7], "b.sqlite")
    assert a.digest() != b.digest()
    b.add(reversed(crystals), num_workers=0)
    assert a.digest() == b.digest()
    renamed = [Crystal(c.lattice, c.frac_coords, c.atomic_numbers) for c in crystals]
    assert made(tmp_path, renamed, "c.sqlite").digest() != a.digest()


def test_what_is_no_crystal_is_counted(tmp_path):
    nan = Crystal(np.full((3, 3), np.nan), [[0, 0, 0]], [6])
    dummy = Crystal(4 * np.eye(3), [[0, 0, 0]], [119])
    database = Database(tmp_path / "known.sqlite", create=True)
    added = database.add([nan, dummy, *perovskites(2)], num_workers=0)
    assert (added.new, added.unreadable) == (2, 2)
    reasons = [reason for _, reason in database.unreadable()][::-1]
    assert "not finite" in reasons[0]
    assert "119" in reasons[1]


def test_it_is_never_all_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("pyg_crysdiff.known.database.BLOCK", 20)
    alive = weakref.WeakSet()

    def crystals():
        for k in range(200):
            crystal = Crystal((3 + k / 100) * np.eye(3), [[0, 0, 0]], [29])
            alive.add(crystal)
            yield crystal
            del crystal
            assert len(alive) <= 2 * 20  # this block and the one before

    database = Database(tmp_path / "known.sqlite", create=True)
    assert database.add(crystals(), num_workers=0).new == 200


def test_other_files_are_refused_by_name_and_left_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.sqlite; crysdiff index"):
        Database(tmp_path / "nothing.sqlite")
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    before = other.read_bytes()
    text = tmp_path / "text.sqlite"
    text.write_text("no database at all, but long enough to be one" * 100)
    for create in (False, True):
        with pytest.raises(ValueError, match=r"other\.sqlite is an SQLite file of another program"):
            Database(other, create=create)
        with pytest.raises(ValueError, match=r"text\.sqlite is no SQLite file"):
            Database(text, create=create)
    assert other.read_bytes() == before
    with pytest.raises(ValueError, match="is a folder"):
        Database(tmp_path)


def test_a_newer_version_is_refused(tmp_path):
    database = made(tmp_path, perovskites(2))
    connection = sqlite3.connect(database.path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(ValueError, match=r"known\.sqlite has version 2"):
        len(database)


def test_a_damaged_file_is_refused_by_name(tmp_path):
    database = made(tmp_path, perovskites(200))
    data = bytearray(database.path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    database.path.write_bytes(data)
    with pytest.raises(ValueError, match=r"known\.sqlite is damaged"):
        list(database.crystals())


def test_a_database_goes_to_other_processes(tmp_path):
    database = made(tmp_path, perovskites(5))
    assert len(pickle.loads(pickle.dumps(database))) == 5
    code = f"from pyg_crysdiff.known import Database; print(len(Database({str(database.path)!r})))"
    readers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)
    ]
    walk = database.crystals()
    next(walk)  # this process reads too
    assert [reader.communicate(timeout=120)[0].strip() for reader in readers] == [b"5", b"5"]
    assert len(list(walk)) == 4


def test_readers_may_have_no_right_to_write(tmp_path):
    database = made(tmp_path, perovskites(5))
    database.path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert len(Database(database.path)) == 5
    finally:
        tmp_path.chmod(0o755)


def test_half_a_transaction_of_a_killed_writer_is_taken_back(tmp_path):
    database = made(tmp_path, perovskites(300))
    code = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(database.path)!r})
connection.execute("PRAGMA cache_size = 2")  # so that pages are written before the end
connection.isolation_level = None
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE crystals SET name = name || 'longer by some characters'")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Path(f"{database.path}-journal").stat().st_size > 512
    names = [c.info["material_id"] for c in database.crystals()]
    assert names == [c.info["material_id"] for c in perovskites(300)]


def test_anonymous_formulas(rng):
    crystal = perovskites(1)[0]
    assert anonymous_formula(crystal) == "ABC3"


def test_two_writers_take_turns(tmp_path):
    path = tmp_path / "known.sqlite"
    code = """
import sys
from pyg_crysdiff.known import Database, files
from tests.known.crystals import perovskites
start = int(sys.argv[2])
Database(sys.argv[1], create=True).add(perovskites(60)[start : start + 40], num_workers=0)
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(start)], cwd=ROOT)
        for start in (0, 20)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    assert len(Database(path)) == 60
    assert Database(path).digest() == made(tmp_path, perovskites(60), "other.sqlite").digest()


def test_a_file_system_without_locks_is_read_without_them(tmp_path, monkeypatch):
    database, opened = made(tmp_path, perovskites(5)), files._opened

    def without_locks(path, options):
        if "nolock" not in options:
            error = sqlite3.OperationalError("locking protocol")
            error.sqlite_errorname = "SQLITE_PROTOCOL"
            raise error
        return opened(path, options)

    monkeypatch.setattr(files, "_opened", without_locks)
    assert len(database) == 5
