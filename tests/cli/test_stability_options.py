"""``crysdiff evaluate`` with judges, hulls and energies of one's own."""

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.data.writers import crystal_to_cif, write_extxyz
from pyg_crysdiff.evaluation.hull import HullFile
from pyg_crysdiff.evaluation.known_phases import make_hull
from pyg_crysdiff.relaxation import RelaxSettings, find_judge
from pyg_crysdiff.storage import read_json
from tests.cli.test_hull_command import EMT, alloy, metal

PAIRS = "ase:pyg_crysdiff.testing.potential.PairCalculator"


KNOWN = [metal(29, 3.7), metal(79, 4.2), alloy(29, 79, 3.1)]
SAMPLES = [alloy(29, 79, 3.0), alloy(79, 29, 3.2), alloy(29, 46, 3.0)]


@pytest.fixture(scope="module")
def hulls():
    """Hulls of the known crystals by two judges."""
    return {
        name: make_hull(KNOWN, find_judge(judge), RelaxSettings(), source="x", num_workers=0)
        for judge, name in ((EMT, "emt"), (PAIRS, "pairs"))
    }


@pytest.fixture
def files(tmp_path, monkeypatch, hulls):
    """A folder with samples, known crystals and hulls, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRYSDIFF_CACHE", str(tmp_path / "cache"))
    write_extxyz(KNOWN, "known.extxyz")
    write_extxyz(SAMPLES, "samples.extxyz")
    for name, hull in hulls.items():
        hull.write(f"{name}.json")
    return tmp_path


def evaluate(*words, files=("samples.extxyz",)):
    main([
        "evaluate", *files, "--train", "known.extxyz", "--bootstrap", "20", "--workers", "0",
        "--out", "scores", *words,
    ])  # fmt: skip
    return read_json("scores/results.json")["rows"]


def test_a_judge_with_a_hull(files, capsys):
    (row,) = evaluate("--judge", EMT, "--hull", "emt.json")
    metrics = row["metrics"]
    assert metrics["metastable"]["value"] == pytest.approx(2 / 3)
    assert metrics["hull_unknown"]["value"] == pytest.approx(1 / 3)
    assert metrics["msun"]["value"] == 0  # CuAu is known
    (judge,) = row["details"]["judges"]
    assert judge["hull"]["file"] == "emt.json"
    assert judge["elements_without_phase"] == ["Pd"]
    said = capsys.readouterr().out
    assert f"judge {EMT}" in said
    assert "hull of 3 phases" in said
    assert "unknown for 1 of 3 crystals, 0 failed" in said
    assert (files / "scores" / "samples.extxyz-relaxed.extxyz").is_file()


def test_two_judges_each_with_its_hull(files):
    (row,) = evaluate(
        "--judge", EMT, "--judge", PAIRS, "--hull", f"{EMT}=emt.json", "--hull",
        f"{PAIRS}=pairs.json",
    )  # fmt: skip
    table = pd.read_csv("scores/samples.extxyz.csv")
    each = table[[f"e_above_hull@{EMT}", f"e_above_hull@{PAIRS}"]].to_numpy()
    np.testing.assert_allclose(table["e_above_hull"][:2], each[:2].mean(1))
    assert table["e_above_hull_judges"].tolist() == [2, 2, 0]
    assert f"msun@{PAIRS}" in row["metrics"]


def test_energies_of_ones_own(files, capsys):
    hull = HullFile.read("emt.json")
    energy = sum(p.energy for p in hull.phases if len(p.composition) == 1) / 2
    lines = [f"{k},{energy + x}" for k, x in enumerate((0.02, -0.5, 0.0))]
    (files / "mine.csv").write_text("index,energy_per_atom\n" + "\n".join(lines) + "\n")
    words = ("--energies", "mine.csv", "--scheme", hull.scheme, "--hull", "emt.json")
    (row,) = evaluate(*words)
    table = pd.read_csv("scores/samples.extxyz.csv")
    bound = hull.hull().energy_at(hull.phases[2].entry().composition)
    np.testing.assert_allclose(
        table["e_above_hull"], [energy + 0.02 - bound, energy - 0.5 - bound, np.nan], atol=1e-9
    )
    assert row["details"]["judges"][0]["judge"] == "energies of mine.csv"
    assert row["details"]["warnings"] == []
    assert "relax_failed" not in row["metrics"]
    evaluate("--energies", "mine.csv", "--scheme", "PBE", "--hull", "emt.json")
    assert "warning: energies of mine.csv: the energies are of the scheme 'PBE'" in (
        capsys.readouterr().out
    )


def test_shards_relax_and_the_command_without_scores(files, capsys):
    words = ("--judge", EMT, "--hull", "emt.json")
    for part in ("0/2", "1/2"):
        main(["evaluate", "samples.extxyz", "--workers", "0", *words, "--shard", part])
    said = capsys.readouterr().out
    assert "part 0/2, 2 crystals relaxed" in said
    assert "part 1/2, 1 crystals relaxed" in said
    assert not (files / "scores").exists()
    evaluate(*words)
    assert "relaxing with" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--judge", "oracle"], "unknown judge 'oracle'"),
        (["--judge", EMT, "--hull", "none.json"], "nothing at none.json"),
        (["--judge", EMT, "--judge", PAIRS, "--hull", "emt.json"], "whose hull is it"),
        (["--judge", EMT, "--hull", "emt.json", "--hull", "pairs.json"], "JUDGE=FILE"),
        (["--judge", EMT, "--hull", "x=emt.json"], "a hull for x, and the judges are"),
        (["--energies", "emt.json"], "need a hull on the same scale"),
        (
            ["--energies", "emt.json", "--energies", "emt.json", "--hull", "emt.json"],
            "2 files of energies for 1 of samples",
        ),
        (["--interval", "1", "0"], "the interval of the target is empty"),
        (["--shard", "0/2"], "it needs --stability"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(files, words, message, capsys):
    with pytest.raises(SystemExit) as end:
        evaluate(*words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_leaderboard_from_the_command_line(files, capsys):
    (files / "known.csv").write_text(_table(KNOWN * 4))
    words = [
        "benchmark", "--task", "sun", "--dataset", "known.csv", "--samples", "mine=samples.extxyz",
        "--judge", EMT, "--num-samples", "2", "--evaluator", "none", "--workers", "0",
        "--out", "board",
    ]  # fmt: skip
    main([*words, "--shard", "0/1"])
    assert "part 0/1" in capsys.readouterr().out
    assert not (files / "board").exists()
    main([*words, "--hull", f"{EMT}=emt.json"])
    said = capsys.readouterr().out
    assert "S.U.N." in said
    assert "report.html" in said
    results = read_json("board/results.json")
    (row,) = results["rows"]
    assert row["details"]["picked"] == "the first 2 of 3"
    assert results["settings"]["hulls"][EMT]["file"] == "emt.json"
    assert results["settings"]["relaxation"]["steps"] == 500


def _table(crystals):
    """A table of one's own with a property."""
    rows = {
        "material_id": [f"k{i}" for i in range(len(crystals))],
        "cif": [crystal_to_cif(c) for c in crystals],
        "gap": np.arange(len(crystals)) / 10,
    }
    return pd.DataFrame(rows).to_csv(index=False)
