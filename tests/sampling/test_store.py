"""Folders of samples: damaged parts are made again, exports are those of the parts, one writer."""

import hashlib
import json
import shutil

import ase.io
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.sampling import store
from pyg_crysdiff.sampling.running import run_batches
from pyg_crysdiff.sampling.store import SampleStore, sole_writer
from pyg_crysdiff.storage import only_writer

REQUEST = {"seed": 0, "target": {"energy": (1.0, 2.0)}}
BATCHES = [[0, 1, 2], [3, 4, 5], [6, 7]]


def crystal(index):
    rng = np.random.default_rng(index)
    lattice = np.eye(3) * 4 + rng.normal(0, 0.2, (3, 3))
    return Crystal(lattice, rng.random((3, 3)), [6, 8, 22], {"index": index}).oriented()


def run(folder, batches=BATCHES, request=REQUEST, fails_at=None, shard=None):
    """Sample with a generator that costs nothing; returns the numbers of crystals made anew."""
    made = []

    class Work:
        steps = 1

        def advance(self, indices):
            if fails_at in indices:
                raise KeyboardInterrupt
            made.extend(indices)
            yield [crystal(i) for i in indices]

    with sole_writer(folder, shard):
        samples = SampleStore(folder, {**request, "batches": [len(b) for b in batches]})
        crystals = run_batches(Work(), batches, samples, shard, False)
    if shard is None:
        assert [c.info["index"] for c in crystals] == [i for b in batches for i in b]
    return made


def exports(folder):
    """Bytes of everything for people."""
    names = ["samples.extxyz", "samples.pt", *(f"cif/{k:05d}.cif" for k in range(8))]
    return {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}


@pytest.fixture
def whole(tmp_path):
    assert run(tmp_path / "whole") == list(range(8))
    return tmp_path / "whole"


def test_a_finished_folder_is_read_and_not_written_again(whole):
    before = {p: p.stat().st_mtime_ns for p in whole.rglob("*") if p.suffix in (".cif", ".extxyz")}
    facts = exports(whole)
    assert run(whole) == []
    assert exports(whole) == facts
    assert {p: p.stat().st_mtime_ns for p in before} == before


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def header_flipped(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"checksum") + 14] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:300])


def emptied(path):
    path.write_bytes(b"")


def stripped(path):
    save_file(load_file(path), path)


def renamed(path):
    shutil.copy(path.with_name("00000.safetensors"), path)


@pytest.mark.parametrize("damage", [flipped, header_flipped, cut, emptied, stripped, renamed])
def test_a_damaged_or_exchanged_part_is_made_again(whole, damage, caplog):
    facts = exports(whole)
    damage(whole / "parts" / "00001.safetensors")
    assert run(whole) == [3, 4, 5]
    assert "00001.safetensors is damaged or of other crystals" in caplog.text
    assert exports(whole) == facts
    caplog.clear()
    assert run(whole) == []
    assert not caplog.text


def test_parts_of_another_request_are_not_believed(whole, tmp_path):
    other = tmp_path / "other"
    run(other, request={**REQUEST, "seed": 1})
    for number in (0, 2):
        name = f"parts/{number:05d}.safetensors"
        shutil.copy(whole / name, other / name)
    assert run(other, request={**REQUEST, "seed": 1}) == [0, 1, 2, 6, 7]


@pytest.mark.parametrize(
    "left",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text[: len(text) // 3] + b"torn\n",
        lambda text: text + text[:500],
        lambda text: b"",
        lambda text: b"\0" * len(text),
    ],
)
def test_whatever_a_crash_left_the_frames_are_right(whole, left):
    facts = exports(whole)
    frames = whole / "samples.extxyz"
    frames.write_bytes(left(frames.read_bytes()))
    (whole / "cif" / "00003.cif").write_text("")
    (whole / "cif" / "00007.cif").unlink()
    (whole / "samples.pt").write_bytes(b"torn")
    assert run(whole) == []
    assert exports(whole) == facts
    assert [f.info["index"] for f in ase.io.read(frames, ":")] == list(range(8))


def test_an_interrupted_run_leaves_whole_files_of_what_it_has(tmp_path, whole):
    folder = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(folder, fails_at=6)
    assert len(ase.io.read(folder / "samples.extxyz", ":")) == 6
    assert torch.load(folder / "samples.pt", weights_only=True)["num_atoms"].shape == (1, 6)
    assert run(folder) == [6, 7]
    assert exports(folder) == exports(whole)


def test_interrupting_a_finished_folder_takes_nothing_from_it(whole, monkeypatch):
    facts = exports(whole)

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SampleStore, "read", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(whole)
    assert exports(whole) == facts


def test_a_lost_record_is_written_again_where_all_parts_are_of_the_request(whole, caplog):
    facts = exports(whole)
    record = (whole / "request.json").read_bytes()
    for text in (b"", record[:20], b"\0" * 50):
        (whole / "request.json").write_bytes(text)
        assert run(whole) == []
        assert "request.json is damaged; it is written again" in caplog.text
        assert (whole / "request.json").read_bytes() == record
    (whole / "request.json").write_bytes(b"")
    with pytest.raises(ValueError, match=r"request\.json is damaged \(0 bytes"):
        run(whole, request={**REQUEST, "seed": 1})
    (whole / "request.json").write_bytes(b"[]")
    with pytest.raises(ValueError, match=r"request\.json is damaged"):
        run(whole)
    assert exports(whole) == facts


def test_folders_of_earlier_versions_are_left_alone(whole):
    record = json.loads((whole / "request.json").read_text())
    del record["format"]
    (whole / "request.json").write_text(json.dumps(record))
    facts = exports(whole)
    with pytest.raises(ValueError, match="another version of pyg_crysdiff"):
        run(whole)
    assert exports(whole) == facts


def test_one_writer_and_shards_that_share(tmp_path):
    with sole_writer(tmp_path), pytest.raises(ValueError, match="is being written by process"):
        run(tmp_path)
    with sole_writer(tmp_path, (0, 2)), sole_writer(tmp_path, (1, 2)):
        with pytest.raises(ValueError, match="is being written by process"):
            run(tmp_path, shard=(0, 2))
        with pytest.raises(ValueError, match="is being written by process"):
            run(tmp_path)  # collects what the shards have not finished
    assert run(tmp_path, shard=(1, 2)) == [3, 4, 5]
    with sole_writer(tmp_path), pytest.raises(ValueError, match="is being written"):
        run(tmp_path, shard=(1, 2))
    assert run(tmp_path) == [0, 1, 2, 6, 7]
    with only_writer(tmp_path):  # nothing is held any more
        pass


@pytest.mark.parametrize("count", [10, 40])
def test_every_crystal_is_written_once_however_many_batches_there_are(tmp_path, monkeypatch, count):
    written = {"crystals_to_extxyz": 0, "save_cdvae": 0, "crystal_to_cif": 0}
    for name in written:
        original = getattr(store, name)

        def counted(crystals, *rest, name=name, original=original):
            written[name] += 1 if name == "crystal_to_cif" else len(crystals)
            return original(crystals, *rest)

        monkeypatch.setattr(store, name, counted)
    batches = [[k] for k in range(count)]
    run(tmp_path, batches)
    assert set(written.values()) == {count}
    assert run(tmp_path, batches) == []  # frames are compared, CIF files stay
    expected = {"crystals_to_extxyz": 2 * count, "save_cdvae": 2 * count, "crystal_to_cif": count}
    assert written == expected
