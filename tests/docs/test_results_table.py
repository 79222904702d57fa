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


def test_a_table_from_results(script, tmp_path):
    metrics = {"sr5_strict": Estimate(0.5, 0.4, 0.6), "sr10_strict": Estimate(1.0)}
    details = {"num_samples": 10, "candidates": 80, "sampling_seconds": 3.2}
    rows = [
        Row("cds", "measured", "/home/me/b.pt", metrics, {**details, "file": "/home/x/run/a.pt"}),
        Row("CDVAE", "published", "a paper", {"sr5_best10": Estimate(0.52)}),
    ]
    settings = {"command": "run.py --data-root /home/me/data --budget 5", "out": "/runs/b"}
    Results("Set", "official", 0, rows=rows, settings=settings).save(tmp_path / "r.json")
    script.keep("set", tmp_path / "r.json")
    text = (tmp_path / "kept" / "set.json").read_text()
    assert "/home" not in text
    assert "--data-root data --budget 5" in text
    lines = script.tables().splitlines()
    assert lines[2] == "| cds | .500 (.40-.60) / 1.000 /  |  |  |  |  |  | 10 of 80, 3 |"
    assert lines[3].startswith("| *published:* CDVAE |  |  | .520 /  / ")
    assert lines[0].startswith("| Set, official | strict")
    script.keep("set-other model", tmp_path / "r.json")
    assert script.tables().count("*published:*") == 1
    heads = [line for line in script.tables().splitlines() if "strict SR5" in line]
    assert [head.split(" | ")[0] for head in heads] == [
        "| Set, official", "| Set, official, other model",
    ]  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n")
    script.write(page, "new")
    assert page.read_text() == f"before\n{script.BEGIN}\nnew\n{script.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the marks"):
        script.write(page, "new")


def test_the_page_of_results_has_the_tables_of_the_kept_results(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "KEPT", ROOT / "benchmarks" / "results")
    page = tmp_path / "results.md"
    page.write_text((ROOT / "docs" / "results.md").read_text())
    script.write(page, script.tables())
    assert page.read_text() == (ROOT / "docs" / "results.md").read_text()
