"""Progress: a bar on a terminal, now and then a line where nobody sees a bar."""

from __future__ import annotations

import io
import sys

import pytest

from pyg_crysdiff import progress
from pyg_crysdiff.parallel import parallel_map
from pyg_crysdiff.training import fit


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all bars that are made in a test."""
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    return clock


def run(seconds: int, clock: Clock, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """Show one item per second; return what is on the stream."""
    monkeypatch.setattr(sys, "stderr", stream)
    for _ in progress.bar(range(seconds), label="sampling", unit="steps", leave=True):
        clock.now += 1
    return stream.getvalue()


def test_a_log_file_gets_a_line_now_and_then_and_the_last(clock, monkeypatch):
    lines = run(100, clock, io.StringIO(), monkeypatch).splitlines()
    assert lines == [
        "sampling: 10 of 100 steps (10 %), 1 steps/s, 00:10 so far, 01:30 left",
        "sampling: 25 of 100 steps (25 %), 1 steps/s, 00:25 so far, 01:15 left",
        "sampling: 48 of 100 steps (48 %), 1 steps/s, 00:48 so far, 00:52 left",
        "sampling: 82 of 100 steps (82 %), 1 steps/s, 01:22 so far, 00:18 left",
        "sampling: 100 steps in 01:40",
    ]  # ever longer pauses


@pytest.mark.parametrize(("first", "counts"), [(18.0, True), (18.0, False)])
def test_a_first_item_that_waits_does_not_count_in_the_estimate(first, counts, clock, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.bar(label="sampling", total=200, unit="steps", counts=counts) as shown:
        for step in range(200):
            clock.now += 0.5 if step else first
            shown.update()
    begun, then, *_ = stream.getvalue().splitlines()
    head = "sampling: 1 of 200 steps (0 %)" if counts else "sampling: 0 %"
    assert begun == f"{head}, 00:18 so far"
    pace = ", 2 steps/s" if counts else ""
    assert then.endswith(f"{pace}, 00:33 so far, 01:24 left")  # 31 steps, 169 are left


def test_workers_that_bring_their_first_items_together_have_the_rate_of_all_rounds(
    clock, monkeypatch
):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.bar(label="relaxing", total=160) as shown:
        for _ in range(10):
            clock.now += 20
            for _ in range(16):
                shown.update()
    rates = [line.split(", ")[1] for line in stream.getvalue().splitlines()[1:-1]]
    assert set(rates) == {"48 items/min"}


def test_what_is_done_at_once_leaves_no_line(clock, monkeypatch):
    assert run(9, clock, io.StringIO(), monkeypatch) == ""


def test_a_terminal_gets_a_bar_that_is_drawn_over(clock, monkeypatch):
    shown = run(100, clock, Terminal(), monkeypatch)
    assert shown.count("\r") > 50
    assert "100%|" in shown
    assert shown.count("\n") == 1


def test_nothing_is_shown_where_nothing_is_asked_for(clock, monkeypatch):
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress.bar(label="quiet", total=100, show=False) as shown:
            clock.now += 1000
            shown.update(50)
        assert stream.getvalue() == ""


def test_work_on_all_cores_tells_its_name_and_counts(clock, capfd):
    def work(item: int) -> int:
        clock.now += 6
        return item

    parallel_map(work, list(range(4)), num_workers=0, label="validity")
    assert capfd.readouterr().err.splitlines()[-1] == "validity: 4 items in 00:24"


def test_a_training_tells_epoch_losses_and_time_left(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(progress, "FIRST", 1e-6)
    monkeypatch.setattr("pyg_crysdiff.training.progress_bar._PAUSE", 0.0)
    small = ["denoiser.dim=16", "denoiser.num_blocks=1", "process.num_steps=20", "batch_size=256"]
    fit(["data=demo", "conditioner=cds", "max_epochs=2", "validate_every=1", *small], tmp_path)
    out = capfd.readouterr()
    lines = [line for line in out.err.splitlines() if line.startswith("training:")]
    assert lines[0].startswith("training: 0 %, epoch 1, loss ")
    assert lines[-1].startswith("training: 100 %, epoch 2, loss ")
    assert ", validation loss " in lines[-1]
    assert lines[0].endswith(" so far")
    assert any(line.endswith(" left") for line in lines)
    assert "steps/s" in lines[-1]
    assert "\r" not in out.err + out.out
