"""What a writer leaves that was killed before its first transaction was done."""

import subprocess
import sys

import pytest

from pyg_crysdiff.design.ledger import LEDGER, Ledger
from pyg_crysdiff.known import Database

# More pages than the cache holds go to the file before the end of the transaction.
KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE t (a)")
for _ in range(200):
    connection.execute("INSERT INTO t VALUES (zeroblob(4000))")
os._exit(9)
"""


@pytest.mark.parametrize("opened", [Database, lambda path: Ledger(path.parent)])
def test_a_file_of_a_writer_killed_at_its_start_is_no_file_of_another_program(tmp_path, opened):
    path = tmp_path / LEDGER
    killed = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert killed.returncode == 9
    assert path.stat().st_size > 0
    with pytest.raises(ValueError, match=r"ledger\.sqlite holds nothing yet: .*run it again"):
        opened(path)


def test_the_command_that_was_killed_makes_the_database_when_it_is_run_again(tmp_path):
    path = tmp_path / "known.sqlite"
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    with pytest.raises(ValueError, match="holds nothing yet"):
        Database(path)
    assert len(Database(path, create=True)) == 0
