"""``crysdiff design``: a queue of jobs from the first call to the report, and what is refused."""

import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.design.ledger import Ledger
from tests.design.loop_toys import tiny_checkpoint, toy_data, toy_energy


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("design")
    write_extxyz(toy_data(), folder / "data.extxyz")
    return tiny_checkpoint(folder / "tiny.safetensors"), folder / "data.extxyz"


@pytest.fixture
def words(files, tmp_path):
    """Options of a small run, without its oracle and budget."""
    return [
        "design", "--checkpoint", str(files[0]), "--data", str(files[1]), "--target",
        "energy=:1.6", "--batch", "2", "--draws", "6", "--sampler", "paper", "--steps", "2",
        "--device", "cpu", "--workers", "0", "--per-composition", "0", "--element-growth", "0",
        "--out", str(tmp_path / "run"),
    ]  # fmt: skip


def refused(words, capsys, status=2):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    assert end.value.code == status
    return capsys.readouterr().err


def test_a_queue_of_jobs(words, tmp_path, capsys):
    queue = tmp_path / "queue"
    words += ["--oracle", f"folder:{queue}", "--budget", "3"]
    for count in (2, 1):
        main(words)
        said = capsys.readouterr().out
        assert f"{count} of {count} results are awaited from folder:queue; the same command" in said
        table = queue / "results.csv"
        lines = [] if table.exists() else ["key,energy"]
        waiting = Ledger(tmp_path / "run").waiting()
        lines += [f"{key},{toy_energy(crystal)}" for key, crystal in waiting.items()]
        with table.open("a") as handle:
            handle.write("\n".join(lines) + "\n")
    main(["design", "--status", str(tmp_path / "run")])
    assert "budget 3; 1 results are awaited" in capsys.readouterr().out
    main(words)
    said = capsys.readouterr().out
    assert "hits of 3 evaluations in" in said
    assert (tmp_path / "run" / "report.html").is_file()
    main(["design", "--status", str(tmp_path / "run")])
    said = capsys.readouterr().out
    assert "round 2 (closed): 6 drawn" in said
    facts = Ledger(tmp_path / "run").facts
    assert facts["caps"] == {
        "per_composition": None, "per_prototype": None, "element_growth": None,
    }  # fmt: skip
    assert facts["sampler"]["steps"] == 2
    assert facts["data"]["crystals"] == 24
    error = refused([*words, "--seed", "1"], capsys)
    assert "holds a design run with other settings (different: seed: 0 before, 1 now)" in error


def test_what_is_missing_is_named(files, capsys):
    error = refused(["design", "--checkpoint", files[0], "--budget", 3], capsys)
    assert "needs --target, --oracle; or --status RUN" in error


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--budget", "0"], "argument --budget: must be a whole number from 1 on"),
        (["--budget", "3", "--target", "energy=low"], "an objective must look like"),
        (["--budget", "3", "--wait", "0"], "argument --wait: must be a number above 0"),
        (["--budget", "3", "--oracle", "sorcery:x"], "sorcery"),
        (["--budget", "3", "--request", "gap=1:2"], "the model has no property 'gap'"),
        (["--budget", "3", "--request", "min:low"], "target must be 'min'"),
        (["--budget", "3", "--extrapolate"], "--extrapolate belongs to a --request"),
        (["--budget", "3", "--fine-tune", "luck=3"], "--fine-tune takes NAME=NUMBER"),
        (["--budget", "3", "--draws", "1"], "fewer than the 2 crystals"),
        (["--budget", "3", "--data", "nowhere.csv"], "--data nowhere.csv: neither a data set"),
        (["--budget", "3", "--keep-sites", "0"], "belongs to a --template"),
        (["--budget", "3", "--checkpoint", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--budget", "3", "--predictor", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--budget", "3", "--predictor", "perov5-predictor"], "a predictor of heat_ref is given"),
        (["--budget", "3", "--known-within", "0"], "argument --known-within: must be a number"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(words, tmp_path, more, message, capsys):
    oracle = [] if "--oracle" in more else ["--oracle", f"folder:{tmp_path / 'queue'}"]
    error = refused([*words, *oracle, *more], capsys)
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_a_number_that_the_oracle_does_not_give(files, words, capsys):
    error = refused(
        [*words, "--target", "gap=1:2", "--oracle", f"lookup:{files[1]}", "--budget", "3"], capsys
    )
    assert "gap" in error


def test_the_status_of_nothing(tmp_path, capsys):
    assert "no design run in" in refused(["design", "--status", tmp_path], capsys)
