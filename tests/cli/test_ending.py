"""How commands end: mistakes, files that cannot be read, Ctrl-C, readers that go away."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.cli.benchmark import main as benchmark
from pyg_crysdiff.cli.ending import ending, say
from pyg_crysdiff.data import load_dataset, read_crystals
from pyg_crysdiff.data.writers import crystal_to_cif, write_extxyz
from pyg_crysdiff.parallel import WorkerKilledError
from pyg_crysdiff.storage import only_writer

QUICK = ["--bootstrap", "0", "--workers", "0"]


@pytest.fixture
def samples(tmp_path):
    """Return a function that writes some crystals into a file."""
    crystals = load_dataset("demo", "test").crystals()

    def write(name: str, count: int) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_extxyz(crystals[:count], path)
        return path

    return write


def refused(capsys, arguments, run=main) -> str:
    """Run a command line that must end with one line and exit status 2; return the line."""
    with pytest.raises(SystemExit) as stop:
        run([str(word) for word in arguments])
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert lines[-1] == errors[0]
    return errors[0]


SAMPLE = ["sample", "--checkpoint", "none.ckpt"]
SELECT = ["select", "x.pt", "-n", "1", "--predictor", "p"]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([*SAMPLE, "-n", "0"], "-n"),
        ([*SAMPLE, "-n", "-5"], "-n"),
        ([*SAMPLE, "-n", "1e9"], "-n"),
        ([*SAMPLE, "--batch-size", "0"], "--batch-size"),
        ([*SAMPLE, "--steps", "0"], "--steps"),
        ([*SAMPLE, "--guidance", "nan"], "--guidance"),
        ([*SAMPLE, "--renewal", "2"], "--renewal"),
        ([*SAMPLE, "--seed", "-1"], "--seed"),
        ([*SAMPLE, "--target", "gap=nan"], "gap=nan"),
        ([*SAMPLE, "--target", "gap=-inf:3"], "gap=-inf"),
        ([*SAMPLE, "--target", "=3"], "--target"),
        ([*SAMPLE, "--target", "a=1", "--target", "a=2"], "'a' twice"),
        ([*SAMPLE, "--num-elements", "3-2"], "--num-elements"),
        ([*SAMPLE, "--shard", "4/4"], "--shard"),
        ([*SAMPLE, "--engine", "clouds"], "--engine"),
        ([*SELECT, "--engine", "processes:0"], "--engine"),
        ([*SAMPLE, "--shard", "-1/4"], "--shard"),
        ([*SELECT, "--target", "null"], "--target"),
        ([*SELECT, "--target", "min:5"], "takes one number, crysdiff sample takes min:5"),
        ([*SELECT, "--target", "-inf"], "--target"),
        (["evaluate", "x.pt", "--workers", "-3"], "--workers"),
        (["evaluate", "x.pt", "--bootstrap", "-1"], "--bootstrap"),
        (["evaluate", "x.pt", "--relax-steps", "-1"], "--relax-steps"),
        (["evaluate", "x.pt", "--cutoffs", "nan", "1"], "--cutoffs"),
        (["evaluate", "x.pt", "--cutoffs", "-1e-1", "1"], "--cutoffs"),
        (["evaluate", "x.pt", "--target", "-1e-1x"], "--target"),
        (["train-evaluator", "demo", "--budget", "-1"], "--budget"),
        (["train-evaluator", "demo", "--max-epochs", "0"], "--max-epochs"),
        (["train", "max_epochs=0"], "max_epochs=0"),
        (["train", "budget_minutes=-1"], "budget_minutes=-1"),
        (["train", "budget_minutes=nan"], "budget_minutes=nan"),
        (["train", "batch_size=0"], "batch_size=0"),
        (["train", "batch_size=null"], "batch_size=null"),
        (["train", "optimizer.lr=nan"], "optimizer.lr=nan"),
        (["train", "train_fraction=2"], "train_fraction=2"),
    ],
)
def test_numbers_that_make_no_sense(arguments, name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert name in refused(capsys, arguments)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--budget", "-1e3"], "--budget"),
        (["--num-samples", "0"], "--num-samples"),
        (["--guidances", "1,nan"], "--guidances"),
        (["--draws", "0"], "--draws"),
        (["--target", "inf"], "--target"),
        (["--samples", "a"], "NAME=FILE"),
        (["--samples", "a=nowhere.pt"], "nowhere.pt"),
        (["--models", "cds,cds"], "'cds'"),
        (["--models", "..,cds"], "'..'"),
    ],
)
def test_benchmark_refuses_in_one_line(arguments, name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert name in refused(capsys, arguments, benchmark)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"), ("a, b", "a-b"), ("x/y", "x:y"), ("A", "a"), ("cds", "cds-unconditional"),
        ("m, 3 chosen of 9", "m"), ("m-lowest 5 %", "m"), ("DiffCSP", "diffcsp"),
    ],
)  # fmt: skip
def test_two_rows_of_one_name(first, second, capsys, samples, tmp_path):
    file = samples("s.extxyz", 2)
    words = ["--models", "", "--samples", f"{first}={file}", "--samples", f"{second}={file}"]
    error = refused(capsys, [*words, "--out", tmp_path / "out"], benchmark)
    assert repr(first) in error
    assert repr(second) in error


def test_negative_numbers_of_any_form_are_values(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("-1e-1", "-1E+2", "-.5e0", "-3"):
        assert "none.pt" in refused(capsys, ["evaluate", "none.pt", "--target", text])


def test_files_of_one_name_and_one_file_twice(samples, tmp_path, capsys):
    first, second = samples("r1/samples.extxyz", 3), samples("r2/samples.extxyz", 2)
    again = tmp_path / "r1" / ".." / "r1" / "samples.extxyz"
    out = tmp_path / "scores"
    main(["evaluate", str(first), str(second), str(again), *QUICK, "--out", str(out)])
    said = capsys.readouterr().out
    assert "given twice" in said
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["r1/samples.extxyz", "r2/samples.extxyz"]
    sizes = {p.name: len(pd.read_csv(p)) for p in out.glob("*.csv")}
    assert sizes == {"r1-samples.extxyz.csv": 3, "r2-samples.extxyz.csv": 2}


def test_names_that_fall_on_one_file_stay_apart(samples, tmp_path):
    names = ["a;b.extxyz", "a|b.extxyz"]
    files = [samples(name, k + 1) for k, name in enumerate(names)]
    out = tmp_path / "scores"
    main(["evaluate", *map(str, files), *QUICK, "--out", str(out)])
    sizes = {p.name: len(pd.read_csv(p)) for p in out.glob("*.csv")}
    assert sizes == {"a-b.extxyz.csv": 1, "a-b.extxyz-2.csv": 2}


def test_what_could_not_be_read_is_said(samples, tmp_path, capsys):
    good = samples("good.extxyz", 2)
    folder = tmp_path / "folder"
    folder.mkdir()
    for k, crystal in enumerate(read_crystals(good)):
        (folder / f"good{k}.cif").write_text(crystal_to_cif(crystal))
    (folder / "bad.cif").write_text("data_bad\n_cell_length_a oops\n")
    out = str(tmp_path / "scores")
    main(["evaluate", str(folder), *QUICK, "--out", out])
    said = capsys.readouterr().out
    assert "1 of 3 entries unreadable, first: " in said
    assert "bad.cif" in said
    error = refused(capsys, ["evaluate", good, "--reference", folder, *QUICK, "--out", out])
    assert "1 of 3 entries unreadable" in error
    assert "bad.cif" in refused(capsys, [*SAMPLE, "--template", folder / "bad.cif"])


def test_scored_files_are_not_scored_again_and_damage_is_repaired(samples, tmp_path, monkeypatch):
    file, out = samples("s.extxyz", 3), tmp_path / "scores"
    command = ["evaluate", str(file), *QUICK, "--out", str(out)]
    main(command)
    table, results = (out / "s.extxyz.csv").read_bytes(), (out / "results.json").read_bytes()
    calls = []
    from pyg_crysdiff.evaluation import cache

    whole = cache.evaluate
    monkeypatch.setattr(cache, "evaluate", lambda *a: calls.append(1) or whole(*a))
    main(command)
    assert not calls
    flipped = table.replace(b"1", b"2", 1)
    for name, damage in (("s.extxyz.csv", table[:-9]), ("s.extxyz.json", b'{"key": 1'),
                         ("s.extxyz.json", b"[]"), ("s.extxyz.csv", flipped)):  # fmt: skip
        (out / name).write_bytes(damage)
        calls.clear()
        main(command)
        assert calls == [1]
        assert (out / "s.extxyz.csv").read_bytes() == table
        assert (out / "results.json").read_bytes() == results


def test_a_folder_in_use_and_one_that_cannot_be_made(samples, tmp_path, capsys):
    file, out = samples("s.extxyz", 2), tmp_path / "scores"
    with only_writer(out):
        assert "being written" in refused(capsys, ["evaluate", file, *QUICK, "--out", out])
    closed = tmp_path / "closed"
    closed.write_text("x")
    for words in (["evaluate", file, *QUICK], ["train", "data=demo"], ["train-evaluator", "demo"]):
        assert "closed" in refused(capsys, [*words, "--out", closed / "out"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/x"), "error: /x: Permission denied"),
        (ValueError("first\n\n  second"), "error: first; second"),
        (MemoryError(), "error: not enough memory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "error: 'utf-8' codec"),
        (EOFError(), "error: EOFError"),
        (WorkerKilledError("killed"), "error: not enough memory: killed"),
        (zipfile.BadZipFile("torn"), "error: torn"),
    ],
)
def test_errors_in_one_line(error, line, capsys):
    with pytest.raises(SystemExit) as stop, ending(debug=False):
        raise error
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(line)
    with pytest.raises(type(error)), ending(debug=True):
        raise error


def test_faults_of_our_own_keep_their_traceback():
    with pytest.raises(KeyError), ending(debug=False):
        raise KeyError("x")


LOOP = """
import sys, time
from pyg_crysdiff.cli.ending import ending, say
with ending(False):
    for k in range(100000):
        say(f"line {k}")
        time.sleep(0.001 if k else float(sys.argv[1]))
        if k == 50:
            open(sys.argv[2], "w").close()
            break
"""


def test_a_reader_that_goes_away_does_not_stop_the_work(tmp_path):
    done = tmp_path / "done"
    command = [sys.executable, "-c", LOOP, "0.3", str(done)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
    assert done.exists()


@pytest.mark.parametrize("words", [["--help"], ["evaluate", "--help"]])
def test_help_into_a_closed_pipe(words):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "pyg_crysdiff", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_that_a_library_swallows_comes_again(signum, code, monkeypatch, capsys):
    monkeypatch.setattr("pyg_crysdiff.cli.ending._AGAIN", 0.05)

    def work():
        with suppress(BaseException):
            signal.raise_signal(signum)
        time.sleep(30)

    with pytest.raises(SystemExit) as end, ending(debug=False):
        work()
    assert end.value.code == code
    assert capsys.readouterr().err.endswith("goes on from what is on disk\n")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interruption_lets_others_tidy_up(monkeypatch):
    monkeypatch.setattr("pyg_crysdiff.cli.ending._AGAIN", 0.05)
    tidied = []

    def work():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            time.sleep(0.3)
            tidied.append(True)

    with pytest.raises(SystemExit), ending(debug=False):
        work()
    assert tidied
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def _stopped(words, signum, reached) -> tuple[int, str]:
    """Run a command, send it a signal once ``reached`` says so; return exit status and errors."""
    command = [sys.executable, "-X", "importtime", *words]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said += [] if line.startswith("import time:") else [line]
            if reached(line):
                os.killpg(process.pid, signum)
                break
        said += [line for line in process.stderr if not line.startswith("import time:")]
        return process.wait(60), "".join(said)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("words", [["benchmarks/run.py"], ["-m", "pyg_crysdiff", "train"]])
def test_interruption_in_the_imports_is_one_line(signum, code, words, tmp_path):
    root = Path(__file__).parents[2]
    words = [str(root / word) if word.endswith(".py") else word for word in words]
    command = [*words, "--out", str(tmp_path / "out")]
    status, said = _stopped(command, signum, lambda line: "torch.storage" in line)
    assert status == code, said
    assert said.count("\n") <= 2, said
    assert said.strip().endswith("goes on from what is on disk")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_of_evaluate_is_one_line(signum, code, samples, tmp_path):
    file, out = samples("s.extxyz", 20), tmp_path / "out"
    words = ["-m", "pyg_crysdiff", "evaluate", str(file), "--bootstrap", "50000000"]
    words += ["--out", str(out)]
    # scoring has begun where the last module it needs has come
    status, said = _stopped(words, signum, lambda line: "smact" in line and out.exists())
    assert status == code, said
    assert "Traceback" not in said
    assert said.strip().endswith("goes on from what is on disk")
    assert not (out / "results.json").exists()


def test_say_goes_to_the_screen(capsys):
    say("one\ntwo")
    assert capsys.readouterr().out == "one\ntwo\n"
