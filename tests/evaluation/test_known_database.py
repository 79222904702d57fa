"""Novelty against a database in an evaluation, and in a selection."""

import json

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.cli.known import known_crystals
from pyg_crysdiff.data import Crystal, load_dataset
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.evaluation import Protocol, evaluate
from pyg_crysdiff.evaluation.cache import scored
from pyg_crysdiff.known import Database
from pyg_crysdiff.property.selection import select


@pytest.fixture(scope="module")
def crystals():
    return load_dataset("demo", "all").crystals()[:12]


@pytest.fixture
def database(crystals, tmp_path):
    found = Database(tmp_path / "known.sqlite", create=True)
    found.add(crystals[:8], num_workers=0)
    return found


def protocol(database, **more):
    return Protocol(
        database=database.path, num_bootstrap=0, num_workers=0, space_groups=False, progress=False,
        **more,
    )  # fmt: skip


def test_columns_and_metric(crystals, database):
    invalid = Crystal(np.eye(3), [[0, 0, 0], [0, 0, 0]], [6, 6])
    found = evaluate([invalid, *crystals], protocol(database, train=crystals[:5]))
    valid = found.table["valid"]
    new = found.table["novel_database"][valid].tolist()
    at = [i for i, ok in enumerate(valid) if ok]
    assert new == [i - 1 >= 8 for i in at]
    names = [crystals[i - 1].info["material_id"] if i - 1 < 8 else "" for i in at]
    assert found.table["database_id"][valid].tolist() == names
    assert not found.table["novel_database"][0]
    assert found.table["database_id"][0] == ""
    assert found.metrics["novelty_database"].value == pytest.approx(np.mean(new))
    assert found.metrics["novelty_database"].value < found.metrics["novelty"].value
    assert "database" in found.definitions["novelty_database"]


def test_some_may_stand_for_all(crystals, database):
    found = evaluate(crystals, protocol(database, novelty_of=3))
    assert found.table["novel_database"].notna().sum() == min(3, found.table["valid"].sum())


def test_a_kept_evaluation_is_that_of_the_same_database(crystals, database, tmp_path):
    made = []
    ask = protocol(database)
    before = scored(tmp_path / "s", crystals, ask, lambda: made.append(1))
    again = scored(tmp_path / "s", crystals, ask, lambda: made.append(2))
    assert made == [1]
    pd.testing.assert_frame_equal(before.table, again.table, check_dtype=False)
    database.add(crystals[8:], num_workers=0)
    found = scored(tmp_path / "s", crystals, ask, lambda: made.append(3))
    assert made == [1, 3]
    assert found.metrics["novelty_database"].value == 0


def test_a_wrong_file_is_refused_before_the_work(tmp_path):
    (tmp_path / "x.sqlite").write_text("nothing")
    with pytest.raises(ValueError, match=r"x\.sqlite is no SQLite file"):
        Protocol(database=tmp_path / "x.sqlite")


def test_the_command_takes_a_database(crystals, database, tmp_path, capsys):
    write_extxyz(crystals, tmp_path / "s.extxyz")
    words = ["evaluate", str(tmp_path / "s.extxyz"), "--known", str(database.path)]
    main([*words, "--bootstrap", "0", "--workers", "0", "--out", str(tmp_path / "scores")])
    raw = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert raw["settings"]["database"]["crystals"] == 8
    assert raw["settings"]["database"]["digest"] == database.digest()
    assert "novelty_database" in raw["rows"][0]["metrics"]


def test_prototypes(crystals, database):
    """All crystals of the demo set are cubic perovskites; one is something else."""
    salt = Crystal(4.1 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
    found = evaluate([salt, *crystals], protocol(database, prototypes=True))
    valid = found.table["valid"]
    assert valid[0]
    count = int(valid.sum())
    assert found.metrics["uniqueness_prototype"].value == pytest.approx(2 / count)
    assert found.metrics["novelty_prototype"].value == pytest.approx(1 / count)
    assert found.table["prototype"][valid].tolist() == [0] + [1] * (count - 1)
    trained = evaluate([salt, *crystals], Protocol(
        train=crystals[:2], prototypes=True, num_bootstrap=0, num_workers=0, space_groups=False,
        progress=False,
    ))  # fmt: skip
    assert trained.metrics["novelty_prototype"].value == pytest.approx(1 / count)


class Volume:
    """A property model that needs no training."""

    property_name = "volume"

    def predict(self, crystals, progress=False):
        return np.array([c.volume for c in crystals])


def test_none_that_is_known_is_selected(crystals, database):
    chosen = select(crystals, 12, Volume(), 0.0, known=database)
    assert chosen == select(crystals, 12, Volume(), 0.0, known=crystals[:8])
    assert set(chosen) <= set(range(8, 12))
    known = known_crystals(str(database.path), {})
    assert select(crystals, 12, Volume(), 0.0, known=known) == chosen
    assert chosen
