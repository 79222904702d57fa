"""kill -9 at any moment: the same command goes on to the same evaluations."""

from pathlib import Path

import pytest

from tests.design.loop_toys import story, tiny_checkpoint
from tests.kills import Commands, assert_survives_kills

SCRIPT = Path(__file__).with_name("killed_run.py")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.mark.slow
def test_at_random_moments(checkpoint, tmp_path):
    assert_survives_kills(lambda out: [SCRIPT, checkpoint, out], story, tmp_path)


@pytest.mark.slow
def test_at_every_kind_of_step(checkpoint, tmp_path):
    steps = [
        "add_round:1:before", "add_round:2:after", "add_answer:3:after", "add_answer:10:before",
        "close_round:1:after",
    ]  # fmt: skip
    with Commands(tmp_path) as commands:
        whole = commands.run([SCRIPT, checkpoint, tmp_path / "whole"])
        assert whole.code == 0, whole.said
        for step in steps:
            out = tmp_path / step.replace(":", "-")
            killed = commands.run([SCRIPT, checkpoint, out], env={"KILL_AT": step})
            assert killed.code == -9, killed.said
            again = commands.run([SCRIPT, checkpoint, out])
            assert again.code == 0, again.said
            assert story(out) == story(tmp_path / "whole"), step
            if step == "add_answer:3:after":  # what was answered is not asked again
                assert again.said.startswith("[['00001'], ["), again.said
