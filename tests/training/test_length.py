"""How long a training lasts: budgets, pauses, limits of a call, and longer ones later."""

import json
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.training import resume, train
from pyg_crysdiff.training.callbacks import Budget, StopAfter
from pyg_crysdiff.training.clock import WorkingClock
from tests.helpers import metrics, same_weights, small_config, toy_sets

SETS = toy_sets()
CONFIG = small_config(max_epochs=4)


# Pauses of the process


def test_the_clock_leaves_out_what_is_far_over_its_beat():
    times = iter([0.0, 4.0, 13.0, 300.0, 301.0, 302.0])
    clock = WorkingClock(beat=1000.0, now=lambda: next(times))
    clock.start()  # at 0
    clock._beat = 1.0
    assert clock.seconds() == 4
    assert clock.seconds() == 13
    assert clock.seconds() == 14  # stopped for 287 s, of which a beat counts
    clock.stop()
    assert clock.seconds() == 15


STOPPED = """
import time
from pyg_crysdiff.training.clock import WorkingClock
clock = WorkingClock(beat=0.02, pause=0.3)
clock.start()
start = time.monotonic()
print("began", flush=True)
end = time.process_time() + 0.4
while time.process_time() < end:  # one long step
    pass
clock.stop()
print(time.monotonic() - start - clock.seconds())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system cannot stop a process")
def test_a_stopped_process_does_not_use_up_its_time():
    process = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "began\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    process.send_signal(signal.SIGCONT)
    assert float(process.communicate(timeout=60)[0]) > 1.2


def test_the_time_of_a_budget_goes_on_from_its_checkpoint():
    budget = Budget(10, 1.0)
    budget.load_state_dict({"time_elapsed": {"train": 12.5}})  # as earlier versions wrote it too
    assert budget.time_elapsed() == 12.5
    assert budget.time_elapsed("validate") == 0
    assert budget.state_dict()["time_elapsed"]["train"] == 12.5


# The limit of a call


def test_a_call_leaves_off_and_the_next_one_goes_on(tmp_path):
    whole = train(CONFIG, tmp_path / "whole", data=SETS, progress=False)
    folder, epochs = tmp_path / "run", []
    for _ in range(4):
        # No time at all: one epoch in every call.
        result = train(CONFIG, folder, data=SETS, progress=False, stop_after=1e-6)
        epochs.append(result.epochs)
        assert result.finished == (folder / "finished.json").is_file() == (result.epochs == 4)
    assert epochs == [1, 2, 3, 4]
    a, b = (load_checkpoint(r.checkpoint).model for r in (whole, result))
    assert same_weights(a, b)
    pd.testing.assert_frame_equal(metrics(folder), metrics(tmp_path / "whole"))
    with pytest.raises(ValueError, match="stop_after"):
        train(CONFIG, folder, data=SETS, progress=False, stop_after=0)


def test_no_epoch_is_begun_that_would_end_too_late(monkeypatch):
    class Trainer:
        current_epoch, max_epochs, should_stop = 0, 9, False

        strategy = SimpleNamespace(broadcast=lambda value: value)

    times = iter([0.0, 5.0, 25.0, 40.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    limit, trainer = StopAfter(1.0), Trainer()
    limit.on_train_start(trainer, None)
    limit.on_train_epoch_end(trainer, None)  # 25 s, of 20
    assert not trainer.should_stop
    limit.on_train_epoch_end(trainer, None)  # 40 s, of 15: 40 + 20 is not after 60
    assert not trainer.should_stop
    monkeypatch.setattr(time, "monotonic", lambda: 41.0)
    limit.on_train_epoch_end(trainer, None)
    assert trainer.should_stop
    assert limit.stopped


# Longer


def test_a_finished_run_goes_on_for_longer(tmp_path):
    """The learning rate rises to where the longer decay is, and falls from there."""
    config = small_config(max_epochs=4)
    config["optimizer"]["warmup_steps"] = 0
    train(config, tmp_path, data=SETS, progress=False)
    assert resume(tmp_path, data=SETS, progress=False).epochs == 4
    longer = resume(tmp_path, ["max_epochs=8"], data=SETS, progress=False)
    assert longer.epochs == 8
    assert json.loads((tmp_path / "config.json").read_text())["max_epochs"] == 8
    table = metrics(tmp_path)
    rate = table[table["train/total"].notna()].set_index("epoch")["lr"]
    assert rate.index.tolist() == list(range(8))
    assert rate[3] < 0.1 * rate[0]
    assert rate[4] > 4 * rate[3]
    assert rate[7] < rate[6] < rate[5] < rate[4] < rate[0]


@pytest.mark.parametrize("left", [("last.ckpt", "previous.ckpt"), ("previous.ckpt",)])
def test_a_run_that_is_longer_already_is_refused_and_stays(tmp_path, left):
    config = small_config(max_epochs=3, validate_every=1)
    train(config, tmp_path, data=SETS, progress=False)
    for name in {"last.ckpt", "previous.ckpt"} - set(left):
        (tmp_path / name).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    message = f"{tmp_path} has already trained for {1 + len(left)} epochs, more than max_epochs=1"
    short = {**config, "max_epochs": 1}
    with pytest.raises(ValueError, match=re.escape(f"{message}; choose another --out")):
        train(short, tmp_path, data=SETS, progress=False)
    with pytest.raises(ValueError, match=re.escape(message)):
        resume(tmp_path, ["max_epochs=1"], data=SETS, progress=False)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.name in before} == before
    assert resume(tmp_path, data=SETS, progress=False).epochs == 3


def test_what_may_change_on_the_way(tmp_path):
    train(CONFIG, tmp_path, data=SETS, progress=False)
    with pytest.raises(ValueError, match=r"keeps its settings, optimizer\.lr too; max_epochs, "):
        resume(tmp_path, ["optimizer.lr=1"], data=SETS, progress=False)
    with pytest.raises(ValueError, match="max_epochs=0 must be"):
        resume(tmp_path, ["max_epochs=0"], data=SETS, progress=False)


def test_the_command_leaves_off_and_goes_on(tmp_path, capsys):
    words = [
        "data=demo", "train_fraction=0.02", "denoiser.dim=8", "denoiser.num_blocks=1",
        "denoiser.num_waves=2", "denoiser.pair_hidden=4", "process.num_steps=20", "max_epochs=2",
        "device=cpu", "precision=32-true",
    ]  # fmt: skip
    out = str(tmp_path / "run")
    main(["train", *words, "--out", out, "--stop-after", "1e-6"])
    assert "1 epochs in" in (said := capsys.readouterr().out)
    assert "not at its end" in said
    main(["train", "--resume", out, "max_epochs=3"])
    assert "3 epochs in" in (said := capsys.readouterr().out)
    assert "not at its end" not in said


# Checkpoints along the way


def test_kept_checkpoints(tmp_path):
    config = {**CONFIG, "keep_every": 2, "validate_every": 3}
    train(config, tmp_path, data=SETS, progress=False)
    names = sorted(p.name for p in (tmp_path / "kept").iterdir())
    assert names == [f"epoch-{n:06d}.{end}" for n in (2, 4) for end in ("json", "safetensors")]
    kept = [load_checkpoint(tmp_path / "kept" / name) for name in names if "safetensors" in name]
    assert [model.card["crystals_seen"] for model in kept] == [48, 96]
    assert [model.card["epoch"] for model in kept] == [1, 3]
    last = load_checkpoint(tmp_path / "last.ckpt")
    assert same_weights(kept[1].model, last.model.half().float())
    assert not same_weights(kept[0].model, kept[1].model)
    # A run that was killed between its checkpoint and the one that is kept, and goes on.
    (tmp_path / "kept" / "epoch-000004.json").unlink()
    before = (tmp_path / "kept" / "epoch-000004.safetensors").read_bytes()
    resume(tmp_path, ["max_epochs=5", "keep_every=4"], data=SETS, progress=False)
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == names
    assert (tmp_path / "kept" / "epoch-000004.safetensors").read_bytes() == before
    with pytest.raises(ValueError, match="keep_every=0"):
        resume(tmp_path, ["keep_every=0"], data=SETS, progress=False)


# Runs of earlier versions


def test_a_run_from_before_a_setting_goes_on(tmp_path):
    train(CONFIG, tmp_path, data=SETS, progress=False)
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["process"]["species"].pop("reverse") == "mixture"
    assert record.pop("keep_every") is None
    (tmp_path / "config.json").write_text(json.dumps(record))
    assert train({**CONFIG, "max_epochs": 5}, tmp_path, data=SETS, progress=False).epochs == 5
    other = small_config(process={"species": {"reverse": "paper"}}, max_epochs=6)
    with pytest.raises(ValueError, match=r"another configuration.*process"):
        train(other, tmp_path, data=SETS, progress=False)


def test_the_reverse_step_stands_in_the_checkpoint(tmp_path):
    config = small_config(process={"species": {"reverse": "paper"}}, max_epochs=1)
    loaded = load_checkpoint(train(config, tmp_path, data=SETS, progress=False).checkpoint)
    assert loaded.model.process.field("species").reverse == "paper"
