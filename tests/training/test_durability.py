"""What is left of a training after a crash, a full disk or a second process, and what goes on."""

import errno
import json
import os
import re
import shutil
import signal
import tempfile
import zipfile

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from pyg_crysdiff.cli import main
from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.property.training import train_evaluator
from pyg_crysdiff.storage import only_writer
from pyg_crysdiff.training import resume, train
from pyg_crysdiff.training.checkpoints import MetricsFile, WholeCheckpoints
from tests.helpers import metrics, same_weights, small_config, toy_sets

SETS = toy_sets()
CONFIG = small_config(max_epochs=4)


class Cut(Callback):
    """Ends the training at the start of an epoch."""

    def __init__(self, epoch, error=None):
        self.epoch, self.error = epoch, error or RuntimeError("power cut")

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise self.error


def cut(folder, epoch=3):
    with pytest.raises(RuntimeError, match="power cut"):
        train(CONFIG, folder, data=SETS, progress=False, callbacks=[Cut(epoch)])


def model(folder):
    return load_checkpoint(folder / "last.ckpt").model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    train(CONFIG, folder, data=SETS, progress=False)
    return folder


# Checkpoints


def flip(path):
    """Change one bit within the largest record; between records lies padding that nobody reads."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda record: record.file_size)
    content = bytearray(path.read_bytes())
    names, extras = (
        int.from_bytes(
            content[largest.header_offset + at : largest.header_offset + at + 2], "little"
        )
        for at in (26, 28)
    )
    start = largest.header_offset + 30 + names + extras
    content[start + largest.file_size // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "one bit": flip,
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_checkpoint_before_takes_the_place_of_a_damaged_one(tmp_path, whole, damage, caplog):
    cut(tmp_path)
    DAMAGES[damage](tmp_path / "last.ckpt")
    train(CONFIG, tmp_path, data=SETS, progress=False)
    (said,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert re.search(r"last\.ckpt is damaged .* previous\.ckpt", said)
    assert same_weights(model(tmp_path), model(whole))
    pd.testing.assert_frame_equal(metrics(tmp_path), metrics(whole))


def test_damaged_checkpoints_are_named(tmp_path):
    cut(tmp_path)
    flip(tmp_path / "last.ckpt")
    flip(tmp_path / "previous.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt is damaged.*previous\.ckpt is damaged"):
        train(CONFIG, tmp_path, data=SETS, progress=False)
    (tmp_path / "previous.ckpt").unlink()
    torch.save({"weights": torch.zeros(1)}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt is no checkpoint"):
        train(CONFIG, tmp_path, data=SETS, progress=False)


def test_a_finished_run_with_a_damaged_checkpoint_is_not_finished(tmp_path, whole):
    folder = shutil.copytree(whole, tmp_path / "run")
    flip(folder / "last.ckpt")
    train(CONFIG, folder, data=SETS, progress=False)
    assert same_weights(model(folder), model(whole))


def test_checkpoints_need_no_other_folder(tmp_path, monkeypatch):
    """Neither the temporary folder of the system nor a file system with hard links."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))

    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    train(small_config(max_epochs=2), tmp_path / "run", data=SETS, progress=False)
    files = sorted(p.name for p in (tmp_path / "run").iterdir() if not p.name.startswith("."))
    assert files == [
        "config.json", "data.json", "finished.json", "last.ckpt", "metrics.csv", "previous.ckpt"
    ]  # fmt: skip
    epochs = [load_checkpoint(tmp_path / "run" / f).card["epoch"] for f in files if "ckpt" in f]
    assert epochs == [1, 0]


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, whole, monkeypatch):
    save, saved = WholeCheckpoints.save_checkpoint, []

    def full(self, checkpoint, path, storage_options=None):
        saved.append(path)
        with monkeypatch.context() as patch:
            if len(saved) == 3:
                patch.setattr(type(path), "write_bytes", no_space)
            save(self, checkpoint, path, storage_options)

    def no_space(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", full)
    with pytest.raises(OSError, match=r"No space left on device: .*last\.ckpt"):
        train(CONFIG, tmp_path, data=SETS, progress=False)
    assert load_checkpoint(tmp_path / "last.ckpt").card["epoch"] == 1
    assert not list(tmp_path.glob(".*.tmp*"))
    train(CONFIG, tmp_path, data=SETS, progress=False)
    assert same_weights(model(tmp_path), model(whole))


# Records and folders


@pytest.mark.parametrize("content", [b"", b'{"max_epochs": 4', b"[]", b'{"max_epochs": 4}'])
def test_a_torn_note_of_the_end_is_written_again(tmp_path, whole, content):
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / "finished.json").write_bytes(content)
    result = train(CONFIG, folder, data=SETS, progress=False)
    assert result.epochs == 4
    assert json.loads((folder / "finished.json").read_text())["epochs"] == 4
    assert same_weights(model(folder), model(whole))


@pytest.mark.parametrize("name", ["config.json", "data.json"])
@pytest.mark.parametrize("content", [b"", b"[1]", b'{"seed"'])
def test_a_torn_record_is_named(tmp_path, whole, name, content):
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        train(CONFIG, folder, data=SETS, progress=False)
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        resume(folder, data=SETS, progress=False)


def test_one_training_per_folder(tmp_path):
    with only_writer(tmp_path):
        with pytest.raises(ValueError, match=rf"is being written by process {os.getpid()} on"):
            train(CONFIG, tmp_path, data=SETS, progress=False)
        crystals = load_dataset("demo", "val").crystals()
        with pytest.raises(ValueError, match="is being written by process"):
            train_evaluator(crystals, "formation_energy_per_atom", tmp_path, progress=False)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".lock")] == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        train(CONFIG, tmp_path / "file" / "run", data=SETS, progress=False)


# Metrics


@pytest.mark.parametrize("epoch", [1, 3])
def test_metrics_go_on(tmp_path, whole, epoch):
    cut(tmp_path, epoch)
    assert 0 < len(metrics(tmp_path)) < len(metrics(whole))
    # A run that got beyond its checkpoint, and a row that was cut off.
    with (tmp_path / "metrics.csv").open("a") as handle:
        handle.write("96,3,1,1,100,1,1,1,1,2,2,2,2\n96,3,1,1,10")
    resume(tmp_path, data=SETS, progress=False)
    pd.testing.assert_frame_equal(metrics(tmp_path), metrics(whole))


def test_what_the_metrics_tell(whole):
    """A learning curve in both kinds of rows: losses against crystals, seconds, learning rate."""
    table = pd.read_csv(whole / "metrics.csv")
    for kind in ("train", "val"):
        rows = table[table[f"{kind}/total"].notna()]
        assert rows["epoch"].tolist() == [0, 1, 2, 3]
        assert rows["crystals_seen"].tolist() == [24, 48, 72, 96]
        assert rows["seconds"].is_monotonic_increasing
        assert rows["seconds"].iloc[-1] > 0
        assert rows["lr"].iloc[-1] > 0
        for field in ("lattice", "coordinates", "species"):
            assert rows[f"{kind}/{field}"].notna().all()
    card = load_checkpoint(whole / "last.ckpt").card
    assert card["crystals_seen"] == 96
    assert card["training_seconds"] > 0


def test_metrics_of_an_older_version_go_on(tmp_path, whole):
    """They lack crystals, seconds and learning rate."""
    cut(tmp_path, 2)
    old = pd.read_csv(tmp_path / "metrics.csv")
    old.drop(columns=["crystals_seen", "seconds", "lr"]).to_csv(
        tmp_path / "metrics.csv", index=False
    )
    resume(tmp_path, data=SETS, progress=False)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["train/total"].dropna().tolist() == metrics(whole)["train/total"].dropna().tolist()
    assert table["crystals_seen"].dropna().tolist() == [72, 72, 96, 96]


def test_a_new_run_begins_new_metrics(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step\n7,7\n")
    logger = MetricsFile(tmp_path)
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_metrics({"b": 0.5, "a": 2.0}, 1)
    logger.log_metrics({"a": 3.0}, 2)
    assert (tmp_path / "metrics.csv").read_text().split() == [
        "a,b,step",
        "1.0,,0",
        "2.0,0.5,1",
        "3.0,,2",
    ]
    again = MetricsFile(tmp_path)
    again.go_on(2)
    again.log_metrics({"b": 4.0}, 2)
    assert (tmp_path / "metrics.csv").read_text().split()[1:] == ["1.0,,0", "2.0,0.5,1", ",4.0,2"]


# Interruption from the keyboard


def test_ctrl_c_comes_out_and_can_be_pressed_again(tmp_path, whole):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, tmp_path, data=SETS, progress=False, callbacks=[Cut(2, KeyboardInterrupt())])
    assert signal.getsignal(signal.SIGINT) is handler
    train(CONFIG, tmp_path, data=SETS, progress=False)
    assert same_weights(model(tmp_path), model(whole))


# Data


def own_data(folder, change=lambda table: table):
    """Two data sets of the demo's crystals as a CSV file with CIF column."""
    crystals = load_dataset("demo", "train").crystals()[:20]
    rows = [
        {"cif": c.to_structure().to(fmt="cif"), "gap": c.info["formation_energy_per_atom"]}
        for c in crystals
    ]
    folder.mkdir(parents=True, exist_ok=True)
    change(pd.DataFrame(rows)).to_csv(folder / "mine.csv", index=False)


def later(name):
    def change(table):
        table.loc[3, "gap"] += 0.5
        return table if name == "value" else table.iloc[:-1]

    return change


OWN = {"name": "mine.csv", "properties": ["gap"], "cif_column": None, "root": None}


@pytest.fixture
def own_config():
    return small_config(max_epochs=2, data=OWN, properties=["gap"])


@pytest.mark.parametrize("edit", ["value", "row"])
@pytest.mark.parametrize("epochs", [2, 3])
def test_edited_data_are_refused(tmp_path, monkeypatch, own_config, edit, epochs):
    """Also where the run is finished, or is to go on for longer."""
    monkeypatch.chdir(tmp_path)
    own_data(tmp_path)
    train(own_config, "run", progress=False)
    own_data(tmp_path, later(edit))
    with pytest.raises(ValueError, match=r"run holds a run on other data: .*content"):
        train({**own_config, "max_epochs": epochs}, "run", progress=False)


def test_a_run_goes_on_from_anywhere(tmp_path, monkeypatch, own_config):
    own_data(tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    train(own_config, "run", progress=False)
    text = json.dumps({**own_config, "max_epochs": 3})
    (tmp_path / "a" / "run" / "config.json").write_text(text)
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    assert resume(tmp_path / "a" / "run", progress=False).epochs == 3
    # The data have moved, and a new command says where they are.
    (tmp_path / "a").rename(tmp_path / "c")
    moved = {**own_config, "max_epochs": 4, "data": {**OWN, "name": "../c/mine.csv"}}
    assert train(moved, tmp_path / "c" / "run", progress=False).epochs == 4
    with pytest.raises(ValueError, match=r"another configuration.*seed"):
        train({**moved, "seed": 1}, tmp_path / "c" / "run", progress=False)


def test_an_evaluator_does_not_go_on_with_other_data(tmp_path):
    crystals = load_dataset("demo", "val").crystals()
    options = {"preset": "fast", "max_epochs": 1, "device": "cpu", "progress": False}
    name = "formation_energy_per_atom"
    train_evaluator(crystals, name, tmp_path, **options)
    (tmp_path / "evaluator.safetensors").unlink()  # as if interrupted
    with pytest.raises(ValueError, match=r"other data.*data"):
        train_evaluator(crystals[:-1], name, tmp_path, **options)
    train_evaluator(crystals, name, tmp_path, **options)


def test_the_command_says_who_trains(tmp_path, capsys):
    with only_writer(tmp_path), pytest.raises(SystemExit) as end:
        main(["train", "data=demo", "--out", str(tmp_path)])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} is being written by process")
