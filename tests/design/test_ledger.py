"""The ledger: what it keeps, who may write, and what others see meanwhile."""

import math
import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.design.answers import Answer
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.ledger_schema import LEDGER
from pyg_crysdiff.design.objectives import read_objectives
from pyg_crysdiff.design.plain import (
    crystal_text,
    objective_facts,
    plain,
    read_crystal,
    read_objective_facts,
)
from tests.conftest import make_crystal

OBJECTIVES = read_objectives(["energy=:-1.25", "gap=max"])
SETTINGS = {
    "objectives": objective_facts(OBJECTIVES), "seed": 0, "budget": 4, "caps": {"a": 1, "b": None},
}  # fmt: skip
STATUSES = ["candidate", "invalid", "candidate", "known", "candidate", "twice"]


def verdicts():
    return [SimpleNamespace(status=s, reason="" if s == "candidate" else "so") for s in STATUSES]


def drawn(rng):
    crystals = [make_crystal(rng, 3) for _ in STATUSES]
    broken = Crystal(np.full((3, 3), np.nan), crystals[1].frac_coords, [0, 6, 6], {"request": 1})
    return [crystals[0], broken, *crystals[2:]]


def add(ledger, rng, number=1, chosen=None):
    crystals = drawn(rng)
    scores = np.where([s == "candidate" for s in STATUSES], np.arange(6.0), math.nan)
    predicted = {"energy": (np.arange(6.0), np.full(6, 0.5))}
    facts = {"seconds": {"draw": 1.5}, "generator": "ab"}
    chosen = chosen or {4: 1, 2: 2}
    ledger.add_round(number, facts, crystals, verdicts(), scores, predicted, chosen)
    return crystals


def test_a_round_and_its_answers(tmp_path, rng):
    with Ledger(tmp_path, SETTINGS) as ledger:
        crystals = add(ledger, rng)
        assert ledger.objectives == OBJECTIVES
        waiting = ledger.waiting()
        assert list(waiting) == ["00001", "00002"]
        assert [c.digest() for c in waiting.values()] == [crystals[k].digest() for k in (4, 2)]
        relaxed = make_crystal(rng, 4)
        ledger.add_answer(
            "00002", Answer({"energy": -2.0, "gap": 1.0}, "", relaxed, {"seconds": 3.0})
        )
        ledger.add_answer("00002", Answer({"energy": 9.0}))  # too late: it has an answer
        assert list(ledger.waiting()) == ["00001"]
        assert ledger.rounds()[0]["state"] == "evaluating"
        ledger.add_answer("00001", Answer.failed("no\n convergence"))
        assert ledger.rounds()[0]["state"] == "evaluated"
        ledger.close_round(1, {"learning": {"accepted": False}})
        add(ledger, rng, 2, {0: 1})
        assert ledger.asked == 3
    read = Ledger(tmp_path)
    first, second = read.rounds()
    assert first == {
        "round": 1, "state": "closed", "generator": "ab", "seconds": {"draw": 1.5},
        "learning": {"accepted": False},
        "counts": {"left": 1, "invalid": 1, "known": 1, "twice": 1, "answered": 1, "failed": 1},
    }  # fmt: skip
    assert second["counts"]["chosen"] == 1
    assert read.models()[0]["learning"] == {"accepted": False}
    table = read.evaluations()
    assert table["key"].tolist() == ["00002", "00001"]
    assert table["order"].tolist() == [1, 2]
    assert table["hit"].tolist() == [True, False]
    assert table["problem"].tolist() == ["", "no convergence"]
    assert table["predicted_energy"].tolist() == [2.0, 4.0]
    assert table["std_energy"].tolist() == [0.5, 0.5]
    assert table["seconds"][0] == 3.0
    assert table[["energy", "gap"]].isna().to_numpy().tolist() == [[False] * 2, [True] * 2]
    candidates = read.candidates()
    assert len(candidates) == 12
    assert candidates["status"].tolist()[:6] == [
        "left", "invalid", "answered", "known", "failed", "twice",
    ]  # fmt: skip
    assert candidates["score"].isna().tolist()[:6] == [False, True, False, True, False, True]
    assert list(read.crystals()) == ["00001", "00002", "00003"]
    assert list(read.crystals(["00003"])) == ["00003"]
    assert {k: c.digest() for k, c in read.relaxed().items()} == {"00002": relaxed.digest()}


def test_an_empty_ledger_has_empty_tables(tmp_path):
    with Ledger(tmp_path, SETTINGS) as ledger:
        assert (ledger.rounds(), ledger.waiting(), ledger.asked) == ([], {}, 0)
        assert len(ledger.candidates()) == len(ledger.evaluations()) == 0
        assert {"key", "round", "order", "hit", "energy", "gap"} <= set(ledger.evaluations())


@pytest.mark.parametrize(
    ("answer", "is_hit"),
    [
        (Answer({"energy": -2.0, "gap": 0.0}), True),
        (Answer({"energy": -2.0, "gap": math.nan}), False),
        (Answer({"energy": -2.0}), False),
        (Answer({"energy": -math.inf, "gap": 1.0}), False),
        (Answer({"energy": -2.0, "gap": 0.0}, "not converged"), False),
        (Answer({"energy": -1.2, "gap": 0.0}), False),
    ],
)
def test_what_is_a_hit(tmp_path, rng, answer, is_hit):
    with Ledger(tmp_path, SETTINGS) as ledger:
        add(ledger, rng)
        ledger.add_answer("00001", answer)
        assert ledger.evaluations()["hit"].tolist() == [is_hit]


def test_numbers_with_names_of_columns_are_left_out_of_the_table(tmp_path, rng):
    with Ledger(tmp_path, SETTINGS) as ledger:
        add(ledger, rng)
        odd = Answer({"energy": 0.0, "hit": 1.0, "round": 7.0, "volume": 3.0})
        ledger.add_answer("00001", odd)
        table = ledger.evaluations()
        assert table[["round", "hit", "volume"]].to_numpy().tolist() == [[1, False, 3.0]]


def test_other_settings_are_refused_by_name_and_the_budget_may_grow(tmp_path):
    with Ledger(tmp_path, SETTINGS) as ledger:
        created = ledger.facts["created"]
    other = {**SETTINGS, "seed": 1, "caps": {"a": 1, "b": 3}}
    message = r"different: caps\.b: nothing before, 3 now; seed: 0 before, 1 now\)"
    with pytest.raises(ValueError, match=message):
        Ledger(tmp_path, other)
    with Ledger(tmp_path, {**SETTINGS, "budget": 9}):
        pass
    assert Ledger(tmp_path).facts == {**SETTINGS, "budget": 9, "created": created}


def test_one_writer_and_any_number_of_readers(tmp_path, rng):
    with Ledger(tmp_path, SETTINGS) as ledger:
        with pytest.raises(ValueError, match="is being written by process"):
            Ledger(tmp_path, SETTINGS)
        readers = [Ledger(tmp_path), Ledger(tmp_path)]
        add(ledger, rng)
        assert [len(reader.waiting()) for reader in readers] == [2, 2]
        with pytest.raises(ValueError, match="for reading alone"):
            readers[0].add_answer("00001", Answer({}))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".") == [LEDGER]  # no log


def test_who_may_not_write_in_the_folder_reads(tmp_path, rng):
    with Ledger(tmp_path, SETTINGS) as ledger:
        add(ledger, rng)
    for path in (tmp_path / LEDGER, tmp_path):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert len(Ledger(tmp_path).waiting()) == 2
    finally:
        for path in (tmp_path, tmp_path / LEDGER):
            path.chmod(path.stat().st_mode | 0o200)


KILLED = """
import os, signal, sys
from tests.design.test_ledger import SETTINGS, add
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.answers import Answer
import numpy as np
ledger = Ledger(sys.argv[1], SETTINGS)
add(ledger, np.random.default_rng(0))
ledger.add_answer("00001", Answer({"energy": 0.1}))
ledger._open.execute("BEGIN IMMEDIATE")
ledger._open.execute("UPDATE answers SET numbers = ''")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_wrote_is_there(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert done.returncode == -9
    assert Ledger(tmp_path).evaluations()["energy"].tolist() == [0.1]
    with Ledger(tmp_path, SETTINGS) as ledger:
        assert list(ledger.waiting()) == ["00002"]


def test_files_that_are_no_ledger(tmp_path):
    with pytest.raises(FileNotFoundError, match="no design run in"):
        Ledger(tmp_path)
    (tmp_path / LEDGER).write_text("hello" * 100)
    with pytest.raises(ValueError, match="is damaged"):
        Ledger(tmp_path)
    (tmp_path / LEDGER).unlink()
    connection = sqlite3.connect(tmp_path / LEDGER)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    for settings in (None, SETTINGS):
        with pytest.raises(ValueError, match="of another program"):
            Ledger(tmp_path, settings)
    (tmp_path / LEDGER).unlink()
    Ledger(tmp_path, SETTINGS).close()
    connection = sqlite3.connect(tmp_path / LEDGER)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ValueError, match="version 99"):
        Ledger(tmp_path)


def test_crystals_and_objectives_come_back_to_the_last_bit(rng):
    crystal = make_crystal(rng, 5)
    crystal.info.update(name="x", value=np.float64(0.1), missing=math.nan)
    again = read_crystal(crystal_text(crystal))
    assert again.digest() == crystal.digest()
    assert again.info == {"name": "x", "value": 0.1, "missing": None}
    exact = (*OBJECTIVES, *read_objectives(["a=0.1234567891234:0.2", "b=min,:-3"]))
    assert read_objective_facts(objective_facts(exact)) == exact


def test_plain_values():
    assert plain({1: (np.int64(2), {3}), "x": np.array([math.inf, 1.0])}) == {
        "1": [2, [3]], "x": [None, 1.0],
    }  # fmt: skip
