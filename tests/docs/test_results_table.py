import importlib.util
from pathlib import Path

import pytest

from pyg_crysdiff.evaluation.results import Estimate, Results, Row

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(tmp_path, monkeypatch):
    path = ROOT / "scripts" / "results_table.py"
    spec = importlib.util.spec_from_file_location("results_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "KEPT", tmp_path / "kept")
    return module


SAMPLED = {
    "request": "min", "guidance": 1.0, "constraints": {}, "solver": "renewing", "steps": 30,
    "corrector_steps": 0, "spacing": "uniform", "num_atoms": "target",
}  # fmt: skip


def test_a_table_from_results(script, tmp_path):
    metrics = {"sr5_all": Estimate(0.5, 0.4, 0.6), "sr10_all": Estimate(1.0)}
    metrics |= {"sr5_best10": Estimate(1.0), "distinct_hits": Estimate(12.0)}
    details = {"num_samples": 10, "candidates": 80, "sampling_seconds": 3.2, **SAMPLED}
    rows = [
        Row("cds", "measured", "/home/me/b.pt", metrics, {**details, "file": "/home/x/run/a.pt"}),
        Row("CDVAE", "published", "a paper", {"sr5_best10": Estimate(0.52)}),
        Row("MODEL-CDS", "published", "a paper", {"sr5_all": Estimate(0.97)}),
    ]
    settings = {"command": "run.py --data-root /home/me/data --budget 5", "out": "/runs/b"}
    Results("Set", "official", 0, rows=rows, settings=settings).save(tmp_path / "r.json")
    script.keep("set", [tmp_path / "r.json"])
    text = (tmp_path / "kept" / "set.json").read_text()
    assert "/home" not in text
    assert "--data-root data --budget 5" in text
    lines = script.tables().splitlines()
    assert lines[0] == (
        "| Set, official | SR5/10/15 all | SR5/10/15 best of ten | distinct hits | crystals | "
        "seconds | settings |"
    )
    # its ten are independent draws, so its best of ten does not stand beside CDVAE's
    assert lines[2] == (
        r"| cds | .500 (.40-.60) / 1.000 |  | 12 | 10 | 3 | request min, guidance 1, constraints "
        r"none, solver renewing, steps 30, corrector none, sizes p(N \| target), chosen of 80, "
        "seed 0 |"
    )
    assert lines[3] == "| *published:* CDVAE |  | .520 |  |  |  |  |"
    assert lines[4] == "| *published:* MODEL-CDS | .970 /  |  |  |  |  |  |"
    script.keep("set-other model", [tmp_path / "r.json"])
    assert script.tables().count("*published:* CDVAE") == 1
    heads = [line for line in script.tables().splitlines() if "| crystals |" in line]
    assert [head.split(" | ")[0] for head in heads] == [
        "| Set, official", "| Set, official, other model",
    ]  # fmt: skip


def test_a_row_of_another_run_stands_in_a_kept_table(script, tmp_path):
    def saved(name, sha, rate, split="official"):
        row = Row("cds", "measured", "x", {"sr5_all": Estimate(rate)}, {"num_samples": 10})
        paper = Row("CDVAE", "published", "a paper", {"sr5_best10": Estimate(0.52)})
        settings = {"command": f"run {name}", "evaluator": {"sha256": sha}}
        path = tmp_path / f"{name}.json"
        Results("Set", split, 3, rows=[row, paper], settings=settings).save(path)
        return path

    script.keep("set", [saved("first", "aa", 0.5)])
    second = saved("second", "aa", 0.25)
    for _ in range(2):  # added again, it takes its own place
        script.add_row("set", second, "cds", "cds, focus")
    rows = Results.load(tmp_path / "kept" / "set.json").rows
    assert [row.method for row in rows] == ["cds", "cds, focus", "CDVAE"]
    assert rows[1].metrics["sr5_all"].value == 0.25
    assert rows[1].details == {"num_samples": 10, "seed": 3, "command": "run second"}
    with pytest.raises(ValueError, match="no row 'cdi'"):
        script.add_row("set", second, "cdi", "cdi")
    with pytest.raises(ValueError, match="another judge"):
        script.add_row("set", saved("third", "bb", 0.5), "cds", "x")
    with pytest.raises(ValueError, match="split 'val' is not that of set"):
        script.add_row("set", saved("fourth", "aa", 0.5, "val"), "cds", "x")


def test_the_tables_stand_between_their_marks(script, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n")
    script.write(page, "new")
    assert page.read_text() == f"before\n{script.BEGIN}\nnew\n{script.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the marks"):
        script.write(page, "new")


def test_seeds_of_one_run_are_one_row_of_mean_and_extremes(script, tmp_path):
    files = []
    for seed, rate in ((0, 0.5), (1, 0.6), (2, 0.7)):
        metrics = {"sr5_all": Estimate(rate, 0.1, 0.9), "distinct_hits": Estimate(10.0 + seed)}
        rows = [Row("cds", "measured", "x", metrics, {**SAMPLED, "num_samples": 10, "seed": seed})]
        if seed:
            rows.append(Row("cdi", "measured", "x", {"sr5_all": Estimate(rate)}, {}))
        rows.append(Row("MODEL-CDS", "published", "a paper", {"sr5_all": Estimate(0.97)}))
        files.append(tmp_path / f"{seed}.json")
        Results("Set", "official", seed, rows=rows).save(files[-1])
    script.keep("set", files[:1])
    script.keep("set", files)
    kept = sorted(path.name for path in (tmp_path / "kept").glob("*"))
    assert kept == ["set@0.json", "set@1.json", "set@2.json"]
    lines = script.tables().splitlines()
    assert lines[0].startswith("| Set, official, 3 seeds: mean (lowest-highest) | SR5/10/15 all |")
    assert lines[2].startswith("| cds | .600 (.500-.700) | 11 (10-12) | 10 |  | request min, ")
    assert lines[2].endswith("seeds 0, 1, 2 |")
    assert lines[3].startswith("| *published:* MODEL-CDS | .970 |")
    assert lines[4].startswith("| cdi (2 of 3 seeds) | .650 (.600-.700) |")
    with pytest.raises(ValueError, match="of one seed"):
        script.keep("set", [files[0], files[0]])
    other = Results.load(files[1])
    other.rows[0].details["guidance"] = 2.0
    other.save(files[1])
    script.keep("set", files)
    with pytest.raises(ValueError, match="unlike settings"):
        script.tables()


def test_the_page_of_results_has_the_tables_of_the_kept_results(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "KEPT", ROOT / "benchmarks" / "results")
    page = tmp_path / "results.md"
    page.write_text((ROOT / "docs" / "results.md").read_text())
    script.write(page, script.tables())
    assert page.read_text() == (ROOT / "docs" / "results.md").read_text()


def test_a_leaderboard_has_an_interval_beside_every_rate(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "KEPT_SUN", tmp_path / "sun")
    found = {"sun_at_hull": Estimate(0.2, 0.15, 0.25), "novel_of_all": Estimate(0.9, 0.8, 1.0)}
    row = Row("mine", "measured", "/home/me/a.pt", found, {"num_samples": 250})
    settings = {"command": "run", "judges": ["chgnet 0.3.0", "sevennet 0"]}
    Results("Set", "official", 0, rows=[row], task="sun", settings=settings).save(
        tmp_path / "r.json"
    )
    script.keep_in(script.KEPT_SUN, "set", tmp_path / "r.json")
    assert "/home" not in (tmp_path / "sun" / "set.json").read_text()
    assert script.sun_tables().splitlines() == [
        "| Set, chgnet 0.3.0 and sevennet 0 | S.U.N. | novel | crystals |",
        "|---|---|---|---|",
        "| mine | .200 (.15-.25) | .900 (.80-1.00) | 250 |",
    ]
    monkeypatch.setattr(script, "KEPT", tmp_path)
    script.add_row("sun/set", tmp_path / "r.json", "mine", "again")
    assert (
        script.sun_tables().splitlines()[-1] == "| again | .200 (.15-.25) | .900 (.80-1.00) | 250 |"
    )
    settings["judges"] = ["chgnet 0.3.0"]
    Results("Set", "official", 0, rows=[row], task="sun", settings=settings).save(
        tmp_path / "r.json"
    )
    with pytest.raises(ValueError, match="another judge"):
        script.add_row("sun/set", tmp_path / "r.json", "mine", "once more")


def test_a_table_of_the_design_benchmark(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "KEPT_DESIGN", tmp_path / "kept" / "design")
    runs = [
        {"drawn": 1000, "failed": 3, "seconds": 90},
        {"drawn": 1100, "failed": 4, "seconds": 150},
    ]
    metrics = {"design_hits@50": Estimate(7.5, 7.0, 8.0), "design_hits@500": Estimate(120.0)}
    rows = [
        Row("loop", "measured", "this run", metrics, {"runs": runs}),
        Row("random", "measured", "this run", metrics, {"runs": [{"seed": 0}]}),
    ]
    settings = {"known_at_start": "20 crystals", "design": {"seeds": 2}, "wanted": ["e=:1"]}
    Results("Set", "official", 0, rows=rows, settings=settings, task="design").save(
        tmp_path / "r.json"
    )
    script.keep_in(script.KEPT_DESIGN, "set", tmp_path / "r.json")
    lines = script.design_tables().splitlines()
    assert lines[0] == (
        "| Set, e=:1; known: 20 crystals; 2 seeds | hits of 50 | hits of 500 | drawn | failed | "
        "minutes |"
    )
    assert lines[2] == "| loop | 8 (7-8) | 120 | 1,050 | 4 | 2 |"
    assert lines[3] == "| random | 8 (7-8) | 120 |  |  |  |"
    settings["design"] |= {"predictors": ["cdvae"], "known_within": 0.5}
    Results("Set", "official", 0, rows=rows, settings=settings, task="design").save(
        tmp_path / "r.json"
    )
    script.keep_in(script.KEPT_DESIGN, "set", tmp_path / "r.json")
    head = script.design_tables().splitlines()[0]
    assert "2 seeds; given predictor: cdvae; known within 0.5 |" in head
