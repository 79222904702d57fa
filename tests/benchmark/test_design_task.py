"""The design benchmark: what is known at the start, curves by hand, a small run of all methods."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pyg_crysdiff.benchmark.design import run_design
from pyg_crysdiff.benchmark.design_curves import bands, counts_of, estimates, random_counts
from pyg_crysdiff.benchmark.design_task import METHODS, PARTS, DesignTask, known_at_start
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.table import text_table
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.design import Answer, read_objectives
from pyg_crysdiff.design.fine_tune_settings import FineTune
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.evaluation.definitions import definition
from tests.design.loop_toys import ToyOracle, run, tiny_checkpoint, toy_data


def labelled(values) -> list[Crystal]:
    return [
        Crystal(np.eye(3) * 3, np.zeros((1, 3)), np.array([6 + i]), {"e": float(value)})
        for i, value in enumerate(values)
    ]


def test_known_at_the_start_lies_above_the_point():
    crystals = labelled(np.arange(100.0))
    known, words = known_at_start(crystals, "e", DesignTask(start=20, above=0.5), seed=1)
    again, _ = known_at_start(crystals, "e", DesignTask(start=20, above=0.5), seed=1)
    assert [c.info["e"] for c in known] == [c.info["e"] for c in again]
    assert len(known) == 20
    assert min(c.info["e"] for c in known) > 49.5
    assert words == "20 training crystals above the 50% point of e (49.5)"
    assert len(known_at_start(crystals, "e", DesignTask(), 0)[0]) == 100
    with pytest.raises(ValueError, match="only 50 have a e above"):
        known_at_start(crystals, "e", DesignTask(start=51, above=0.5), 0)


def test_methods_differ_in_what_they_are_called_for():
    task = DesignTask(budget=120, batch=50, draws=100)
    found = {m: task.settings(m, 0, Sampler(), None) for m in (*METHODS[1:], *PARTS)}
    assert (found["chosen"].batch, found["chosen"].draws) == (120, 300)
    assert (found["loop"].batch, found["loop"].draws) == (50, 100)
    assert found["conditional"].acquisition == "random"
    assert found["unconditional"].requests[0].target is None
    assert found["learning loop"] == replace(found["loop"], fine_tune=FineTune())
    assert found["mean loop"].acquisition == "mean"
    assert found["braked loop"].caps.element_growth == 2.0
    assert found["unchosen learning loop"].acquisition == "random"
    with pytest.raises(ValueError, match="no method 'greedy'"):
        DesignTask(methods=("greedy",))


def test_curves_by_hand():
    curves = [np.array([0, 1, 1, 2]), np.array([0, 0, 1])]  # the second run ended early
    found = estimates(curves, 3)
    assert list(found) == ["design_hits@3"]
    one = found["design_hits@3"]
    assert (one.value, one.low, one.high) == (1.5, 1.0, 2.0)
    assert bands({"a": curves}, 2) == {"a": [[0, 0, 0, 0], [2, 1, 1, 1], [3, 1.5, 1, 2]]}
    assert "Among the first 250 evaluations" in definition("design_hits@250")


def test_random_crystals_are_drawn_once_each():
    pool = labelled([0, 1, 2, 3, 4, 5, 6, 7])
    wanted = read_objectives(["e=:1.5"])
    found = random_counts(pool, wanted, 20, seed=3)
    assert len(found) == 9
    assert found[-1] == 2


class SameCrystal(ToyOracle):
    """Says that all crystals are one known crystal, and a hit."""

    def ask(self, crystals):
        for key, answer in super().ask(crystals):
            yield (
                key,
                Answer(dict.fromkeys(answer.values, 0.0), "", None, {"part": "test", "index": 3}),
            )


def test_hits_that_are_one_known_crystal_count_once(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "tiny.safetensors")
    run(checkpoint, tmp_path / "run", 8, SameCrystal())
    assert counts_of(Ledger(tmp_path / "run"), 0).tolist() == [0] + [1] * 8


def test_all_methods(tmp_path):
    """The files that a user finds, and the same table from a run that is done."""
    checkpoint = tiny_checkpoint(tmp_path / "tiny.safetensors")
    data = tmp_path / "data.json"
    entries = [
        {"structure": c.to_structure().as_dict(), "energy": c.info["energy"]} for c in toy_data()
    ]
    data.write_text(json.dumps(entries))
    settings = Settings.resolve(
        str(data), out=tmp_path / "run", models=(), checkpoints=(("tiny", checkpoint),),
        sampler=Sampler.of("paper", steps=2), device="cpu",
    )  # fmt: skip
    task = DesignTask(
        read_objectives(["energy=:1.6"]), (ToyOracle(),), budget=8, batch=4, draws=12,
        methods=("random known-like", "conditional", "chosen", "loop"), seeds=2,
        per_composition=None,
    )  # fmt: skip
    results = run_design(settings, task, progress=False)
    assert [row.method for row in results.rows] == list(task.methods)
    for row in results.rows[1:]:
        assert [one["hits"] for one in row.details["runs"]]
        assert row.metrics["design_hits@8"].low <= row.metrics["design_hits@8"].value
    assert (tmp_path / "run" / "report.html").read_text().count("report.html") == 6
    for name in ("results.json", "curves.json", "runs/loop-seed1/report.html"):
        assert (tmp_path / "run" / name).is_file()
    again = run_design(settings, task, progress=False)
    assert [row.metrics for row in again.rows] == [row.metrics for row in results.rows]
    assert "hits of 8" in text_table(results)
    assert "wanted: energy=:1.6; oracle: toy" in text_table(results)
