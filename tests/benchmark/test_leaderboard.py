"""The leaderboard of stable, unique, novel crystals, on the demo set with toy judges."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.benchmark import sun as board
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.sun import run_sun
from pyg_crysdiff.benchmark.sun_samples import picked
from pyg_crysdiff.benchmark.sun_settings import SunSettings
from pyg_crysdiff.benchmark.table import text_table
from pyg_crysdiff.data import BrokenEntry, Crystal, load_dataset
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.evaluation.hull import HullFile
from pyg_crysdiff.evaluation.known_phases import make_hull
from pyg_crysdiff.relaxation import RelaxSettings
from tests.toys import ASKED, toy

JUDGES = (toy(), toy("other", shift=3.0))


@pytest.fixture
def settings(tmp_path):
    """Two sample files: known crystals, and swollen ones."""
    train = load_dataset("demo", "train").crystals()
    test = load_dataset("demo", "test").crystals()
    write_extxyz(train[:6], tmp_path / "known.extxyz")
    swollen = [replace(c, lattice=1.05 * c.lattice) for c in test[:8]]
    write_extxyz([*swollen, swollen[0]], tmp_path / "new.extxyz")
    return Settings.resolve(
        "demo", out=tmp_path / "run", models=(), num_samples=9, evaluator="none", device="cpu",
        samples=(("known", tmp_path / "known.extxyz"), ("new", tmp_path / "new.extxyz")),
        sampler=Sampler(steps=2),
    )  # fmt: skip


@pytest.fixture
def chosen(tmp_path):
    return SunSettings(
        judges=JUDGES, relax=RelaxSettings(60), cache_dir=tmp_path / "cache", num_workers=0
    )


@pytest.fixture
def with_hulls(settings, chosen):
    """The settings with hulls of the training crystals and the elements, which the set lacks."""
    train = load_dataset("demo", "train").crystals()
    numbers = sorted({int(z) for c in train for z in c.atomic_numbers})
    elements = [Crystal(np.eye(3) * 2.5, np.zeros((1, 3)), np.array([z])) for z in numbers]
    files = {}
    for judge in JUDGES:
        files[judge.name] = settings.out.parent / f"{judge.name}.json.gz"
        hull = make_hull([*train[:50], *elements], judge, chosen.relax, source="x", num_workers=0)
        hull.write(files[judge.name])
    return replace(chosen, hulls=files)


def test_rows_tables_and_relaxed_structures(settings, with_hulls):
    results = run_sun(settings, with_hulls, progress=False)
    known, new = results.rows
    assert (known.method, new.method) == ("known", "new")
    assert known.details["picked"] == "all 6"
    assert known.metrics["msun"].value == 0
    assert known.metrics["novel_of_all"].value == 0
    # each judge has a hull of its own energies, so that they agree
    assert new.metrics["judges_differ"].value == pytest.approx(0, abs=1e-2)
    assert new.metrics["msun@toy"].value == pytest.approx(new.metrics["msun@other"].value)
    assert new.metrics["msun"].low is not None
    assert new.metrics["hull_unknown"].value == 0
    tables = settings.out / "tables"
    for name in (
        "new.csv",
        "new-by_size.csv",
        "new-relaxed-toy.extxyz",
        "new-relaxed-other.extxyz",
    ):
        assert (tables / name).is_file()
    table = pd.read_csv(tables / "new.csv")
    assert len(table) == 9
    assert {"e_above_hull", "e_above_hull@toy", "relax_rms@other", "kind_relaxed"} <= set(table)
    stored = json.loads((settings.out / "results.json").read_text())
    assert stored["task"] == "sun"
    assert stored["settings"]["hulls"]["toy"]["judge"] == "toy 1"
    assert stored["rows"][0]["details"]["judges"][1]["hull"]["judge"] == "other 1"
    text = text_table(results)
    assert "S.U.N." in text
    assert "MSUN, other" in text
    assert "judge toy: hull of" in text
    report = (settings.out / "report.html").read_text()
    assert "New structures lowest above the hull" in report


def test_hulls_are_made_of_the_data_set_in_the_samples_systems(settings, chosen):
    results = run_sun(settings, chosen, progress=False)
    hulls = [HullFile.read(settings.out / f"hull-{name}.json.gz") for name in ("toy", "other")]
    assert [hull.judge for hull in hulls] == ["toy 1", "other 1"]
    assert hulls[0].settings == RelaxSettings(60).key
    assert {"bias", "key", "lowest"} <= set(hulls[0].facts)
    # 14 different crystals in the files, of a set with one crystal for each system
    assert len(hulls[0].phases) == 14
    # the demo set has no crystals of elements, which is told
    warnings = results.rows[0].details["warnings"]
    assert any("the hull is unknown for 100%" in line for line in warnings) == (len(warnings) > 0)
    assert results.rows[1].metrics["hull_unknown"].value == 1


def test_the_same_command_goes_on(settings, chosen, monkeypatch):
    first = run_sun(settings, chosen, progress=False)
    ASKED.clear()
    said = []
    monkeypatch.setattr(board, "make_hull", lambda *_, **__: pytest.fail("made again"))
    again = run_sun(settings, chosen, said.append, progress=False)
    assert ASKED == []
    assert not [line for line in said if "scoring" in line]
    for one, other in zip(first.rows, again.rows, strict=True):
        assert str(one.metrics) == str(other.metrics)
        assert json.loads(json.dumps(one.details)) == json.loads(json.dumps(other.details))


def test_shards_leave_nothing_to_relax(settings, chosen):
    for k in range(3):
        part = replace(chosen, shard=(k, 3))
        assert run_sun(settings, part, progress=False) is None
    assert not (settings.out / "results.json").exists()
    ASKED.clear()
    run_sun(settings, chosen, progress=False)
    assert ASKED == []


def test_hulls_that_are_given_are_taken_and_judged(settings, chosen, tmp_path):
    run_sun(settings, chosen, progress=False)
    made = HullFile.read(settings.out / "hull-toy.json.gz")
    replace(made, judge="somebody 2").write(tmp_path / "theirs.json")
    single = replace(chosen, judges=JUDGES[:1], hulls={"toy": tmp_path / "theirs.json"})
    said = []
    results = run_sun(replace(settings, out=tmp_path / "b"), single, said.append, progress=False)
    warning = "toy 1: the hull was made by somebody 2, whose energies cannot be compared"
    assert f"known: warning: {warning}" in said
    assert warning in results.rows[0].details["warnings"]
    assert f"warning: known: {warning}" in text_table(results)
    assert warning in (tmp_path / "b" / "report.html").read_text()


def test_picked_crystals():
    entries = [BrokenEntry(k, "x") for k in range(10)]
    chosen, words = picked(entries, 3, "first", 0)
    assert ([e.index for e in chosen], words) == ([0, 1, 2], "the first 3 of 10")
    drawn, words = picked(entries, 3, "random", 4)
    expected = np.sort(np.random.default_rng(4).permutation(10)[:3])
    assert [e.index for e in drawn] == expected.tolist()
    assert words == "3 of 10, drawn with seed 4"
    assert picked(entries, 10, "random", 4)[1] == "all 10"


def test_what_cannot_be_is_refused(settings, chosen):
    with pytest.raises(ValueError, match="a hull for b, and the judges are toy"):
        SunSettings(judges=JUDGES[:1], hulls={"b": settings.out})
    with pytest.raises(ValueError, match="name one judge or several, each once"):
        SunSettings(judges=(toy(), toy()))
    with pytest.raises(ValueError, match="pick must be one of"):
        SunSettings(judges=JUDGES, pick="best")
    with pytest.raises(ValueError, match="a folder in which its relaxations are kept"):
        SunSettings(judges=JUDGES, shard=(0, 2))
    with pytest.raises(ValueError, match="nothing to score"):
        run_sun(replace(settings, samples=()), chosen, progress=False)


def test_models_are_asked_with_and_without_a_condition(settings, chosen):
    tiny = (
        "denoiser.dim=8", "denoiser.num_blocks=1", "denoiser.num_waves=2",
        "denoiser.pair_hidden=4", "max_epochs=1", "process.num_steps=20", "batch_size=128",
    )  # fmt: skip
    own = replace(
        settings, samples=(), models=("cds",), num_samples=2, overrides=tiny, budget_minutes=5
    )
    with pytest.raises(ValueError, match="run the command once with --sample-only"):
        run_sun(own, replace(chosen, shard=(0, 2)), progress=False)
    assert run_sun(own, chosen, progress=False, sample_only=True) is None
    assert not (own.out / "results.json").exists()
    assert run_sun(own, replace(chosen, shard=(0, 1)), progress=False) is None
    results = run_sun(own, chosen, progress=False)
    assert [row.method for row in results.rows] == ["cds", "cds, unconditional"]
    assert [row.details["request"] for row in results.rows] == ["min", None]
