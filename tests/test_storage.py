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
    JsonLines,
    append_text,
    check_same,
    differences,
    facts_digest,
    file_name,
    in_words,
    kept,
    only_writer,
    read_json,
    read_keyed,
    replacing,
    whole,
    whole_lines,
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


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_a_file_of_a_library_gets_the_mode_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "weights.safetensors") as temporary:
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"weights.safetensors": 0o640, "plain": 0o640}


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
    other = {"seed": 2, "device": "cuda", "pair": [1, 2], "more": 0}
    message = r"holds another run \(different: more: nothing before, 0 now; seed: 1 before, 2 now\)"
    with pytest.raises(ValueError, match=message):
        check_same(path, other, what="another run")


def test_differences_have_dotted_names_and_both_values():
    was, now = {"a": {"b": 1, "c": [1]}, "d": 0}, {"a": {"b": 1, "c": [2]}, "e": "x" * 99}
    found = differences(was, now)
    assert found == {"a.c": ([1], [2]), "d": (0, None), "e": (None, "x" * 99)}
    text = in_words(found)
    assert text.startswith("a.c: [1] before, [2] now; d: 0 before, nothing now; e: nothing before")
    assert len(text) < 150
    assert differences({"a": None}, {}) == {}


@pytest.mark.parametrize("there", [{"optimizer": {"lr": 1}}, {"optimizer": {"lr": 1, "name": "a"}}])
def test_what_older_records_lack_is_what_it_was_then(tmp_path, there):
    path, older = tmp_path / "config.json", {"optimizer.name": "a", "process.given": False}
    path.write_text(json.dumps(there))
    check_same(path, {"optimizer": {"lr": 1, "name": "a"}}, what="-", older=older)
    path.write_text(json.dumps(there))
    with pytest.raises(ValueError, match=r'optimizer\.name: "a" before, "b" now\)'):
        check_same(path, {"optimizer": {"lr": 1, "name": "b"}}, what="-", older=older)
    assert json.loads(path.read_text()) == there


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


def test_results_are_made_once_and_again_where_they_are_damaged_or_of_something_else(tmp_path):
    path, made = tmp_path / "result.json", []

    def get(key):
        def make():
            made.append(key)
            return {"key": key, "value": len(made)}

        return kept(path, lambda p: read_keyed(p, key), make, write_json)["value"]

    assert [get("a"), get("a"), get("b"), get("b"), get("a")] == [1, 1, 2, 2, 3]
    path.write_bytes(path.read_bytes()[:-4])
    assert get("a") == 4
    assert made == ["a", "b", "a", "a"]


def test_want_of_memory_is_no_damage(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, 1)

    def read(_):
        raise MemoryError

    with pytest.raises(MemoryError):
        whole(path, read)
    assert whole(tmp_path / "none.json", read) is None


def test_lines_survive_what_a_kill_cut_off(tmp_path):
    lines = JsonLines(tmp_path / "deep" / "results.jsonl")
    assert lines.read() == []
    lines.add([{"a": 1}, {"a": 2}])
    append_text(lines.path, '{"a": 3')  # cut off
    assert lines.read() == [{"a": 1}, {"a": 2}]
    lines.add([{"a": 4}])
    assert lines.read() == [{"a": 1}, {"a": 2}, {"a": 4}]
    lines.replace([[5]])
    assert whole_lines(lines.path) == ["[5]"]


def test_digests_tell_settings_and_contents_apart():
    facts = {"b": [1, 2], "a": None}
    assert facts_digest(facts) == facts_digest({"a": None, "b": (1, 2)})
    different = {facts_digest(facts), facts_digest(facts, ["x"]), facts_digest({**facts, "b": [1]})}
    assert len(different) == 3
