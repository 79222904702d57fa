"""The prepared script for a GPU, run on the processor with few crystals."""

import json
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.syspath_prepend(str(FOLDER / "speed"))
    import gpu

    return gpu


def run(gpu, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny", *words])
    gpu.main()


def test_all_of_it_on_the_processor(gpu, monkeypatch, tmp_path, capsys):
    def here(part, seconds):
        assert seconds > 0
        args = gpu.parse()
        return gpu.made(gpu.parts(args, gpu.choose_device("cpu"))[part])

    monkeypatch.setattr(gpu, "in_process", here)
    monkeypatch.setattr("device_parts.OneSet.share", lambda _: 1 // 0)
    out = tmp_path / "gpu.json"
    run(gpu, monkeypatch, "--seconds", "0.01", "--few-steps", "5", "--many", "6",
        "--datasets", "perov5,mp20", "--out", str(out))  # fmt: skip
    rows = json.loads(out.read_text())
    failed = [row for row in rows if "failed" in row]
    assert {row["failed"].partition(":")[0] for row in failed} == {"ZeroDivisionError"}, failed
    assert len(failed) == 4  # and the others went on
    named = {(row.get("set"), row.get("form"), row["what"]): row.get("value") for row in rows}
    assert named["", "", "the kernel agrees with the plain form"] is True
    for data in ("perov5", "mp20"):
        for form in ("kernel", "plain"):
            for what in ("training", "sampling, 1000 steps", "sampling, 5 steps", "peak memory"):
                assert named[data, form, what] > 0
    assert named["mp20", "kernel", "6 crystals, 5 steps"] > 0
    differences = [v for (*_, what), v in named.items() if "float" in what]
    assert len(differences) == 3
    assert all(0 <= v < 0.02 for v in differences)
    printed = capsys.readouterr().out
    last = printed.splitlines()[-1]
    assert re.match(r"plain: as many crystals .* all sets together: [\d.e+]+ min", last), last
    assert "FAILED" in printed


def test_sizes_are_those_of_the_sets(gpu):
    from device_sets import SETS, drawn_sizes

    assert set(drawn_sizes("perov5", 20)) == {5}
    assert all(n % 2 == 0 for n in drawn_sizes("carbon24", 200))
    drawn = drawn_sizes("mp20", 2000)
    assert max(drawn) == 20
    whole = SETS["mp20"].num_atoms
    mean = sum(n * k for n, k in whole.items()) / sum(whole.values())
    assert sum(drawn) / 2000 == pytest.approx(mean, rel=0.05)


SCRIPT = """
import json, sys, time
print(json.dumps({"what": "one", "value": 1.0, "unit": "", "form": "", "set": ""}), flush=True)
print("no row")
"""


@pytest.mark.parametrize(
    ("ending", "why"),
    [("", None), ("raise ValueError('no luck')", "ValueError: no luck"),
     ("time.sleep(60)", "no time was left"), ("sys.exit(3)", "it ended without a word")],
)  # fmt: skip
def test_a_part_that_fails_or_takes_too_long_is_a_line(gpu, monkeypatch, tmp_path, ending, why):
    script = tmp_path / "part.py"
    script.write_text(SCRIPT + ending)
    monkeypatch.setattr(sys, "argv", [str(script)])
    rows = list(gpu.in_process("kernel", 3.0 if "sleep" in ending else 60.0))
    assert rows[0]["value"] == 1.0
    assert [row["failed"] for row in rows[1:]] == ([] if why is None else [why])
    assert [row["failed"] for row in gpu.in_process("kernel", -1.0)] == ["no time was left"]


def test_wrong_settings_are_refused(gpu, monkeypatch, capsys):
    for words in (["--forms", "best"], ["--datasets", "qm9"], ["--forms", "recorded"]):
        with pytest.raises(SystemExit):
            run(gpu, monkeypatch, *words)
    assert "needs a GPU" in capsys.readouterr().err
