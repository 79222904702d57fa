"""scripts/train_queue.py: a list of trainings that goes on where it was."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyg_crysdiff.cli import main as crysdiff
from pyg_crysdiff.models import load_checkpoint

ROOT = Path(__file__).parents[2]
TINY = (
    "data=demo train_fraction=0.05 denoiser.dim=8 denoiser.num_blocks=1 denoiser.num_waves=2 "
    "denoiser.pair_hidden=4 process.num_steps=20 batch_size=16 validate_every=1 device=cpu "
    "precision=32-true"
)


@pytest.fixture
def queue(monkeypatch):
    """The script; it runs its commands in this process, where everything is imported."""
    path = ROOT / "scripts" / "train_queue.py"
    spec = importlib.util.spec_from_file_location("train_queue", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "train_queue", module)  # dataclasses look there
    spec.loader.exec_module(module)

    def here(words, log):
        log.open("a").close()
        # However fast the machine is: a call with a limit trains for one epoch.
        limited = "--stop-after" in words
        try:
            crysdiff([*words[:-1], "1e-6"] if limited else list(words))
        except SystemExit as end:
            return not end.code
        return True

    monkeypatch.setattr(module, "crysdiff", here)
    return module


def write(path, epochs=2, more=""):
    path.write_text(f"# a comment\none\t{TINY} max_epochs={epochs}\n\n{more}")
    return str(path)


def test_a_queue_goes_on_where_it_was(tmp_path, queue, capsys):
    jobs = write(tmp_path / "jobs.tsv", more=f"two\t{TINY} max_epochs=1 seed=1\n")
    words = [jobs, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert queue.main([*words, "--status"]) == 0
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["one", "waits", "0"], ["two", "waits", "0"],
    ]  # fmt: skip
    assert queue.main([*words, "--minutes", "0.1"]) == 0  # no time to begin anything
    assert not list((tmp_path / "runs").glob("*/*"))
    capsys.readouterr()
    assert queue.main([*words, "--minutes", "90", "--batch-times", "2"]) == 0
    said = capsys.readouterr().out
    assert "structures/s" in said
    assert "one: epoch 1" in said
    assert said.count(", goes on") == 1
    assert load_checkpoint(tmp_path / "out" / "one.safetensors").card["epoch"] == 0
    # Without the option: the run keeps its own batch size.
    assert queue.main(words) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert rows == [["one", "finished", "2"], ["two", "finished", "1"]]
    one = load_checkpoint(tmp_path / "out" / "one.safetensors")
    assert (one.card["epoch"], one.config["batch_size"]) == (1, 32)
    assert one.config["optimizer"]["lr"] == pytest.approx(1e-3 * 2**0.5, rel=1e-5)
    # All is done: nothing is trained again. A longer job goes on, in another folder too.
    before = (tmp_path / "runs" / "one" / "last.ckpt").stat().st_mtime_ns
    assert queue.main(words) == 0
    assert (tmp_path / "runs" / "one" / "last.ckpt").stat().st_mtime_ns == before
    write(tmp_path / "jobs.tsv", epochs=3)
    moved = [jobs, "--runs", str(tmp_path / "there"), "--from", str(tmp_path / "runs")]
    assert queue.main(moved) == 0
    assert load_checkpoint(tmp_path / "there" / "one" / "last.ckpt").card["epoch"] == 2
    assert load_checkpoint(tmp_path / "runs" / "one" / "last.ckpt").card["epoch"] == 1


def test_a_job_that_fails_does_not_stop_the_others(tmp_path, queue, capsys):
    more = f"bad\t{TINY} max_epochs=1 properties=[nothing]\ngood\t{TINY} max_epochs=1 seed=2\n"
    jobs = tmp_path / "jobs.tsv"
    jobs.write_text(more)
    assert queue.main([str(jobs), "--runs", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr()
    assert "bad: failed, see" in said.err
    assert [line.split()[1] for line in said.out.splitlines()[-2:]] == ["waits", "finished"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("one data=demo", r"jobs\.tsv, line 2: a job is NAME, a tab"),
        ("one\t", "line 2: a job is NAME"),
        ("a/b\tdata=demo", "line 2: the name 'a/b'"),
        ("zero\tdata=demo", "line 2: the name 'zero' is taken"),
        ("one\tdata=demo colour=red", "line 2: .*colour"),
    ],
)
def test_lines_that_are_no_jobs(tmp_path, queue, line, message):
    (tmp_path / "jobs.tsv").write_text(f"zero\tdata=demo\n{line}\n")
    with pytest.raises(SystemExit, match=message):
        queue.main([str(tmp_path / "jobs.tsv"), "--status"])


def test_quotes_are_those_of_the_shell(tmp_path, queue):
    (tmp_path / "jobs.tsv").write_text(
        'low\tdata=demo "focus={end: lowest, part: 0.05, share: 0.3}"\n'
        "open\tdata=demo 'focus={end: lowest\n"
    )
    with pytest.raises(SystemExit, match=r"jobs.tsv, line 2: No closing quotation"):
        queue.read_jobs(tmp_path / "jobs.tsv")
    (tmp_path / "jobs.tsv").write_text((tmp_path / "jobs.tsv").read_text().splitlines()[0])
    (job,) = queue.read_jobs(tmp_path / "jobs.tsv")
    assert job.config["focus"] == {"end": "lowest", "part": 0.05, "share": 0.3}


def test_the_settings_of_a_machine(tmp_path, queue):
    jobs = tmp_path / "jobs.tsv"
    jobs.write_text("a\tdata=perov5\nb\tdata=demo\n")
    args = queue.parse([str(jobs), "--data", str(tmp_path), "--device", "cuda"])
    a, b = (queue.settings(job, tmp_path / job.name, args) for job in queue.read_jobs(jobs))
    assert a == ["device=cuda", f"data.source={tmp_path.resolve()}"]
    assert b == ["device=cuda"]
    assert queue.cores("0,2-4") == {0, 2, 3, 4}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system pins no processes")
def test_cores_that_are_not_there(queue):
    with pytest.raises(SystemExit, match="not possible here"):
        queue.pin({9999})


def test_the_output_of_a_command_goes_to_its_log(tmp_path):
    path = ROOT / "scripts" / "train_queue.py"
    code = (
        f"import sys; sys.path.insert(0, {str(path.parent)!r})\n"
        "import train_queue, pathlib\n"
        "assert not train_queue.crysdiff(['nonsense'], pathlib.Path('log'))\n"
        "assert 'nonsense' in pathlib.Path('log').read_text()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
