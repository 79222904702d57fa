import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.benchmark import optimisation
from pyg_crysdiff.benchmark.hit_plots import TITLE, hit_curves, write_hit_plots
from pyg_crysdiff.benchmark.known import known_crystals
from pyg_crysdiff.benchmark.optimisation import REFERENCE, run_benchmark
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.benchmark.table import text_table
from pyg_crysdiff.data import Crystal, Demo, Perov5, load_dataset
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.evaluation.harness import Evaluation
from pyg_crysdiff.evaluation.results import Results, Row

ENERGY = "formation_energy_per_atom"


class FromInfo:
    """A judge that has seen everything: the volume per atom, less 20."""

    property_name, identity = ENERGY, "volume"
    card = {"property": ENERGY, "held_out_mae": 9.0, "num_held_out": 1}  # noqa: RUF012

    def predict(self, crystals, **_):
        return np.array([c.volume / len(c) - 20 if isinstance(c, Crystal) else np.nan
                         for c in crystals])  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that scores demo crystals of all parts, the best of each first."""
    monkeypatch.setattr(optimisation._Run, "_evaluator", lambda self: FromInfo())
    chosen = []
    for name in ("train", "val", "test"):
        ordered = sorted(load_dataset("demo", name).crystals(), key=lambda c: c.info[ENERGY])
        chosen += ordered[:3] + ordered[-1:]
    bare = [Crystal(c.lattice, c.frac_coords, c.atomic_numbers) for c in chosen]
    write_extxyz(bare, tmp_path / "s.extxyz")
    settings = Settings.resolve(
        "demo", out=tmp_path / "run", models=(), samples=(("mine", tmp_path / "s.extxyz"),),
        num_samples=10, coverage=False, device="cpu",
    )  # fmt: skip
    return settings, chosen


def test_a_set_that_is_a_whole_space_is_looked_up(run, monkeypatch):
    settings, chosen = run
    every = len(load_dataset("demo", "all"))
    monkeypatch.setattr(Demo, "space_size", every + 1)
    results = run_benchmark(settings, progress=False)
    table = pd.read_csv(settings.out / "tables" / "mine.csv")
    assert table["known_value"].tolist() == pytest.approx([c.info[ENERGY] for c in chosen])
    assert table["known_part"].tolist() == ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    mine = next(row for row in results.rows if row.method == "mine")
    limit = results.settings["thresholds"]["sr5"]
    assert mine.metrics["distinct_hits"].value == sum(c.info[ENERGY] <= limit for c in chosen)
    assert mine.metrics["new_hits"].value == sum(c.info[ENERGY] <= limit for c in chosen[4:])
    # the training crystals below the limit are hits all, and none of them is new
    best = next(row for row in results.rows if row.method == REFERENCE)
    assert best.metrics["lookup_sr5_all"].value == 1
    assert best.metrics["new_hits"].value == 0
    covered = f"{every:,} known crystals of the {every + 1:,} of the whole space"
    assert covered in text_table(results)
    page = (settings.out / "report.html").read_text()
    assert covered in page
    assert TITLE in page
    assert (settings.out / "plots" / "hits.png").is_file()
    assert json.loads((settings.out / "results.json").read_text())["settings"]["lookup"]["hits"]


def test_the_look_up_can_be_switched_off_and_is_off_for_open_spaces(run, monkeypatch):
    settings, _ = run
    assert known_crystals(settings, Splits(settings)) == {}
    monkeypatch.setattr(Demo, "space_size", 5)
    assert set(known_crystals(settings, Splits(settings))) == {"train", "val", "test"}
    off = replace(settings, lookup="none")
    assert known_crystals(off, Splits(off)) == {}
    results = run_benchmark(off, progress=False)
    assert "lookup" not in results.settings
    assert not any(key.startswith("lookup") for row in results.rows for key in row.metrics)
    assert "distinct_hits_predicted" in results.rows[0].metrics
    assert not (settings.out / "plots" / "hits.png").exists()
    with pytest.raises(ValueError, match="lookup must be one of"):
        replace(settings, lookup="always")


def test_perovskites_are_a_whole_space():
    assert Perov5.space_size == 18_928
    assert Demo.space_size is None


def test_curves_of_hits():
    table = pd.DataFrame({
        "known_part": ["test", "", "train", "test", "val"], "known_index": [4, -1, 0, 4, 1],
        "known_id": "", "known_value": [0.1, np.nan, 0.2, 0.1, 9.0],
    })  # fmt: skip
    every, held_out = hit_curves(Evaluation({}, {}, table), 1.0)
    assert every.tolist() == [0, 1, 1, 2, 2, 2]
    assert held_out.tolist() == [0, 1, 1, 1, 1, 1]


def test_no_plot_without_a_look_up(tmp_path):
    rows = [Row("m", "measured", "file", {})]
    assert write_hit_plots(tmp_path, Results("d", "s", 0, rows=rows), {}) == {}
    assert list(tmp_path.iterdir()) == []
