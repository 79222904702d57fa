"""Files are whole or absent, damaged ones are named, a folder has one writer."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pyg_crysdiff.storage import (
    append_text,
    check_same,
    file_name,
    only_writer,
    read_json,
    replacing,
    write_from,
    write_json,
    write_text,
)


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(str(1 / 0))
    assert read_json(path) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
    write_text(path, "[2]\r\n")
    assert path.read_bytes() == b"[2]\r\n"


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\x00\xff", b"[" * 100_000])
def test_damaged_json_is_named(tmp_path, content):
    path = tmp_path / "request.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"request\.json is damaged"):
        read_json(path)


def test_a_record_is_compared_field_by_field(tmp_path):
    path = tmp_path / "config.json"
    check_same(path, {"seed": 1, "device": "cpu", "pair": (1, 2)}, what="another run")
    check_same(path, {"seed": 1, "device": "cuda", "pair": [1, 2]}, what="-", free=("device",))
    assert json.loads(path.read_text())["device"] == "cuda"
    with pytest.raises(ValueError, match=r"holds another run \(different: \['more', 'seed'\]\)"):
        check_same(
            path, {"seed": 2, "device": "cuda", "pair": [1, 2], "more": 0}, what="another run"
        )


def test_a_second_writer_is_refused_by_name(tmp_path):
    with only_writer(tmp_path):
        message = rf"is being written by process {os.getpid()} on \S+ \(since"
        with pytest.raises(ValueError, match=message), only_writer(tmp_path):
            pass
        with only_writer(tmp_path, name="-0-2"):
            pass
    with only_writer(tmp_path):
        pass


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_a_killed_writer_leaves_no_lock(tmp_path):
    code = (
        "import sys, time\nfrom pyg_crysdiff.storage import only_writer\n"
        "with only_writer(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {other.pid} on"), only_writer(tmp_path):
            pass
        other.send_signal(signal.SIGKILL)
    time.sleep(0.05)
    with only_writer(tmp_path):
        pass


def test_what_older_records_do_not_say_is_known(tmp_path):
    path = tmp_path / "config.json"
    write_json(path, {"seed": 1})
    check_same(path, {"seed": 1, "share": 1.0}, what="-", older={"share": 1.0})
    assert read_json(path) == {"seed": 1, "share": 1.0}
    with pytest.raises(ValueError, match="share"):
        check_same(path, {"seed": 1, "share": 0.5}, what="another run", older={"share": 1.0})


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_a_full_disk_is_named_by_the_file(tmp_path):
    with (
        pytest.raises(OSError, match=r"No space left on device.*a\.txt"),
        replacing(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device.*metrics\.csv"):
        append_text(tmp_path / "metrics.csv", "1,2\n")
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("name", ["cds", "cds, best of 3", "β-Sn (2×2)", "a+b=c", "CDVAE"])
def test_usual_names_name_their_files_as_they_are(name):
    assert file_name(name) == name.replace("×", "-")


@pytest.mark.parametrize("name", ["../../x", "a/b", "c:\\d", "x\0y", ".hidden", "🙂 1", "n" * 999])
def test_no_name_leaves_its_folder(name, tmp_path):
    (tmp_path / file_name(name)).write_text("x")
    (made,) = tmp_path.iterdir()
    assert made.parent == tmp_path
    assert not made.name.startswith(".")


def test_long_names_that_differ_at_their_ends_stay_apart_and_nothing_is_refused():
    assert file_name("n" * 999 + "a") != file_name("n" * 999 + "b")
    for name in ("", "..", "/", " "):
        with pytest.raises(ValueError, match="cannot name a file"):
            file_name(name)


def test_a_growing_file_goes_on_whatever_a_crash_left(tmp_path):
    path = tmp_path / "frames"
    parts = [b"first\n", b"second\n", b"third\n"]
    for left in (None, b"", b"first\nsec", b"first\nsecond\nthird\n", b"f\0rst\nsecond\n"):
        if left is not None:
            path.write_bytes(left)
        end = 0
        for part in parts:
            end = write_from(path, end, part)
        assert path.read_bytes() == b"".join(parts)
        assert end == len(path.read_bytes())
    path.write_bytes(b"".join(parts) + b"more")
    before = path.stat().st_mtime_ns
    assert write_from(path, 6, parts[1]) == 13
    assert path.stat().st_mtime_ns == before


def test_halves_that_a_killed_writer_left_are_removed(tmp_path):
    halves = []
    for folder in (tmp_path, tmp_path / "plots", tmp_path / "other"):
        with replacing(folder / "a.png") as temporary:
            temporary.write_bytes(b"whole")
            halves.append(temporary.name)
    for folder, name in zip(
        (tmp_path, tmp_path / "plots", tmp_path / "other"), halves, strict=True
    ):
        (folder / name).write_bytes(b"half")
    (tmp_path / ".writer.json").write_text("{}")  # of the killed one
    (tmp_path / "other" / ".writer.json").write_text("{}")
    with only_writer(tmp_path):
        left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.tmp*")}
        assert left == {f"other/{halves[2]}"}
    assert len(list(tmp_path.rglob("a.png"))) == 3
