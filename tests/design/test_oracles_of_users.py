"""Functions, programs and queues of users, which fail, hang and are just being written."""

import functools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyg_crysdiff.design.oracles import CommandOracle, FolderOracle, FunctionOracle, find_oracle
from pyg_crysdiff.engine import using_engine
from tests.design import user_functions
from tests.design.oracle_toys import PROGRAM, noble, pair

TOYS = user_functions.__name__


def alive(pid) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    words = ["ps", "-o", "stat=", "-p", str(pid)]
    status = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return bool(status.strip()) and not status.startswith("Z")


def gone(pid, seconds=5.0) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def test_a_function_that_fails_hangs_and_dies_fails_for_these_crystals_alone():
    oracle = find_oracle(f"python:{TOYS}:moody", ["gap"], timeout=2, num_workers=0)
    found = dict(oracle.ask(noble()))
    assert {key: dict(a.values) for key, a in found.items() if a.values} == {
        "a": {"gap": 1.5}, "b": {"gap": 1.5},
    }  # fmt: skip
    assert found["he"].problem == "ArithmeticError: too noble"
    assert "in moody" in found["he"].facts["traceback"]
    assert found["ne"].problem == "did not end within 2 s and was ended"
    assert found["ar"].problem == "its process ended with exit status 3"
    assert found["kr"].problem == "gave no gap (it gave other)"
    assert found["xe"].problem == "gap is 'wide', which is no number"
    assert found["a"].facts["seconds"] >= 0
    json.dumps([dict(answer.facts) for answer in found.values()])


def test_a_function_as_it_is_and_a_file(tmp_path, capfd):
    crystals = {"x": pair(6), "bad": pair(6, shift=0.0)}
    found = dict(FunctionOracle(user_functions.sites, ["sites"], num_workers=0).ask(crystals))
    assert found["x"].values == {"sites": 2.0}
    assert found["x"].facts["more"]["volume"] == pytest.approx(3.0**3 * 1.32, rel=1e-6)
    assert "closer" in found["bad"].problem
    assert "this goes" in capfd.readouterr().err
    file = tmp_path / "mine.py"
    file.write_text("def edge(structures):\n    return [structures[0].lattice.a]\n")
    oracle = find_oracle(f"python:{file}:edge", ["edge"], num_workers=0)
    assert dict(oracle.ask({"x": pair(6)}))["x"].values == {"edge": pytest.approx(3.0)}
    before = oracle.identity
    file.write_text("def edge(structures):\n    return [7.0]\n")
    assert FunctionOracle(f"{file}:edge", ["edge"]).identity != before


def test_the_identity_of_a_function_is_its_name_and_source():
    named = FunctionOracle(f"{TOYS}:bare", ["volume"])
    given = FunctionOracle(user_functions.bare, ["volume"])
    assert named.identity == given.identity != FunctionOracle(f"{TOYS}:sites", ["x"]).identity
    part = FunctionOracle(functools.partial(user_functions.bare), ["volume"])
    assert part.identity.split()[1] == named.identity.split()[1]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("python:no_such_module_here:f", "no module"),
        (f"python:{TOYS}:colour", "has no attribute 'colour'"),
        (f"python:{TOYS}:no_function", "no function but a int"),
        ("python:absent.py:f", "no file"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_told_at_once(spec, words):
    with pytest.raises(ImportError, match=words):
        find_oracle(spec, ["gap"])


def test_functions_run_in_the_workers_of_the_engine():
    with ThreadPoolExecutor(2) as pool, using_engine(pool):
        oracle = FunctionOracle(f"{TOYS}:moody", ["gap"], timeout=60)
        asked = {k: c for k, c in noble().items() if k != "ne"}
        found = dict(oracle.ask(asked))
    assert sorted(key for key, answer in found.items() if not answer.problem) == ["a", "b"]
    assert set(found) == set(asked)


@pytest.fixture
def program(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    return file


def test_a_program_that_fails_and_hangs_fails_for_these_crystals_alone(
    program, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    jobs = tmp_path / "run"
    command = f"command:{shlex.quote(sys.executable)} program.py --mode 'a b'"
    oracle = find_oracle(command, ["gap"], timeout=3, folder=jobs, num_workers=0)
    found = dict(oracle.ask(noble()))
    assert found["a"].values == {"gap": 1.5}
    assert found["b"].values == {"gap": 1.25}
    assert found["he"].problem == "its process ended with exit status 3: no convergence"
    assert found["he"].facts["stderr"] == "a line\nno convergence\n"
    assert found["ne"].problem == "did not end within 3 s and was ended"
    assert found["xe"].problem == "printed no JSON and no number; the last line is 'nothing'"
    assert "killed by signal 6" in found["ar"].problem or os.name != "posix"
    assert found["kr"].crystal.atomic_numbers.tolist() == [36, 36]
    assert (jobs / "jobs" / "a" / "stdout.txt").read_text().startswith("read")
    assert oracle.identity.endswith("program.py --mode 'a b' -> gap")
    if os.name == "posix":
        assert gone(int((jobs / "jobs" / "ne" / "child").read_text()))


def test_programs_run_at_the_same_time_in_temporary_folders(program):
    oracle = CommandOracle([sys.executable, str(program)], ["gap"])
    with ThreadPoolExecutor(2) as pool, using_engine(pool):
        found = dict(oracle.ask({"x": pair(3), "y": pair(3), "z": pair(11)}))
    values = {key: answer.values["gap"] for key, answer in found.items()}
    assert values == {"x": 1.5, "y": 1.5, "z": 1.25}
    assert "folder" not in found["x"].facts
    with pytest.raises(FileNotFoundError, match="no program 'absent'"):
        CommandOracle("absent --now", ["gap"])


_MASTER = """
import sys
from pathlib import Path
from pyg_crysdiff.design.oracles.processes import Server, run_program
say = "import os, time; open('{0}', 'w').write(str(os.getpid())); time.sleep(100)"
if {1}:
    with open(os.devnull, "wb") as out:
        run_program([sys.executable, "-c", say], Path.cwd(), 100, out, out)
server = Server(dict(path=sys.path, file="hang.py", name="hang"), 100)
server.ask(dict(lattice=[[3,0,0],[0,3,0],[0,0,3]], frac_coords=[[0,0,0]], atomic_numbers=[3]), 100)
"""

_HANG = """
import subprocess, sys
def hang(structures):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    open("pid", "w").write(str(child.pid))
    child.wait()
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
@pytest.mark.parametrize("command", [True, False])
def test_nothing_is_left_where_the_master_is_killed(command, tmp_path):
    pid = tmp_path / "pid"
    (tmp_path / "hang.py").write_text(_HANG)
    text = "import os" + _MASTER.format(pid, command)
    with subprocess.Popen([sys.executable, "-c", text], cwd=tmp_path) as master:
        while not (pid.is_file() and pid.read_text()):
            assert master.poll() is None
            time.sleep(0.02)
        child = int(pid.read_text())
        assert alive(child)
        os.kill(master.pid, signal.SIGKILL)
    assert gone(child)


def answered(oracle, crystals):
    return {key: dict(answer.values) for key, answer in oracle.ask(crystals)}


def test_a_queue_of_jobs(tmp_path, caplog):
    place = tmp_path / "queue"
    oracle = find_oracle(f"folder:{place}", ["gap"])
    crystals = {"00007": pair(3), "00008": pair(11), "00009": pair(6), "00010": pair(4)}
    assert answered(oracle, crystals) == {}
    assert sorted(file.name for file in (place / "00007").iterdir()) == [
        "POSCAR", "job.json", "structure.cif",
    ]  # fmt: skip
    touched = (place / "00007" / "job.json").stat().st_mtime_ns
    (place / "00007" / "result.json").write_text('{"gap": 1.5, "code": "x"}')
    (place / "00008" / "result.json").write_text('{"gap": 1.')  # being written
    (place / "results.csv").write_text("key;gap;problem\n009;;SCF\n10;2.5;\n77;1;\n")
    found = dict(oracle.ask(crystals))
    assert {key: dict(a.values) for key, a in found.items()} == {
        "00007": {"gap": 1.5}, "00009": {}, "00010": {"gap": 2.5},
    }  # fmt: skip
    assert found["00009"].problem == "SCF"
    assert found["00007"].facts["more"] == {"code": "x"}
    assert "not yet whole" in caplog.text
    assert (place / "00007" / "job.json").stat().st_mtime_ns == touched
    assert not list(place.glob(".*"))
    with pytest.raises(ValueError, match="00007 is there already and holds the job of another"):
        answered(oracle, {"00007": pair(4)})


def test_atoms_of_a_job_keep_their_order(tmp_path):
    from ase.io import read

    crystal = pair(3)
    crystal.atomic_numbers[:] = [9, 3]
    list(FolderOracle(tmp_path, ["gap"]).ask({"k": crystal}))
    for name, kind in (("POSCAR", "vasp"), ("structure.cif", "cif")):
        assert read(tmp_path / "k" / name, format=kind).numbers.tolist() == [9, 3]


def test_a_relaxed_crystal_of_a_job_is_taken_up(tmp_path):
    oracle, crystal = FolderOracle(tmp_path, ["gap"]), pair(3, target=1.0)
    list(oracle.ask({"k": crystal, "l": crystal}))
    (tmp_path / "k" / "CONTCAR").write_text((tmp_path / "k" / "POSCAR").read_text())
    (tmp_path / "l" / "CONTCAR").touch()
    for key in "kl":
        (tmp_path / key / "result.json").write_text('{"gap": 1}')
    found = dict(oracle.ask({"k": crystal, "l": crystal}))
    assert found["l"].crystal is None
    assert found["k"].crystal.info == {"target": 1.0}
    assert found["k"].crystal.volume == pytest.approx(crystal.volume)
    list(oracle.ask({"m": pair(4)}))
    (tmp_path / "k" / "CONTCAR").write_text((tmp_path / "m" / "POSCAR").read_text())
    with pytest.raises(ValueError, match="CONTCAR is Be, but Li was asked for"):
        list(oracle.ask({"k": crystal}))


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("k/result.json", '{"bandgap": 1}', r"result.json: gave no gap \(it gave bandgap\)"),
        ("k/result.json", '{"gap": "1 eV"}', "result.json: gap is '1 eV'"),
        ("k/result.json", '{"gap": NaN}', "no finite number"),
        ("k/result.json", "[1]", "write a JSON object"),
        ("results.csv", "name,gap\nk,1\n", "needs a column key"),
        ("results.csv", "key,Gap\nk,1\n", r"line 2: gave no gap \(it gave Gap\)"),
        ("results.csv", "key,gap\n\nk,1\nk,2\n", "line 4: k has a row already"),
        ("results.csv", "key,gap\nk,1,5\n", "line 2: it has 3 cells"),
    ],
)
def test_a_mistake_in_a_result_names_the_file_and_loses_nothing(file, text, words, tmp_path):
    oracle, crystals = FolderOracle(tmp_path, ["gap"]), {"k": pair(3), "good": pair(4)}
    list(oracle.ask(crystals))
    (tmp_path / "good" / "result.json").write_text('{"gap": 2}')
    (tmp_path / file).write_text(text)
    got = []
    with pytest.raises(ValueError, match=words):
        got.extend(oracle.ask(crystals))
    assert [key for key, _ in got] == ["good"]


def test_a_line_that_grows_is_not_read(tmp_path):
    oracle = FolderOracle(tmp_path, ["gap"])
    (tmp_path / "results.csv").write_text("key,gap\nk,1.25\nl,1.")
    crystals = {"k": pair(3), "l": pair(4)}
    assert answered(oracle, crystals) == {"k": {"gap": 1.25}}
    old = time.time() - 60
    os.utime(tmp_path / "results.csv", (old, old))
    assert answered(oracle, crystals)["l"] == {"gap": 1.0}
