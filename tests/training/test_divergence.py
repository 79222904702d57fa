"""A loss that is no number: single steps are left out, a row of them ends the training."""

import re

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from pyg_crysdiff.cli import main
from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.property.training import train_evaluator
from pyg_crysdiff.training import train
from pyg_crysdiff.training.divergence import TrainingDivergedError, refuse_non_finite
from pyg_crysdiff.training.module import DiffusionModule
from tests.helpers import small_config, toy_sets

SETS = toy_sets()
STEPS = 3  # per epoch of 24 crystals


def poison(monkeypatch, bad, value=float("nan")):
    """Make the loss of some steps, and its gradient, not finite."""
    step = DiffusionModule.training_step

    def poisoned(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        return loss * value if bad(self.global_step) else loss

    monkeypatch.setattr(DiffusionModule, "training_step", poisoned)


def is_finite(path):
    weights = load_checkpoint(path).model.state_dict().values()
    return all(bool(w.isfinite().all()) for w in weights if w.is_floating_point())


def warnings(caplog):
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


class Weights(Callback):
    """Notes the weights after every step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append(torch.cat([p.detach().flatten() for p in pl_module.parameters()]).clone())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_single_steps_are_left_out(tmp_path, monkeypatch, value):
    poison(monkeypatch, lambda step: step in (2, 4), value)
    weights = Weights()
    result = train(
        small_config(max_epochs=3), tmp_path, data=SETS, progress=False, callbacks=[weights]
    )
    changed = [not torch.equal(a, b) for a, b in zip(weights.seen, weights.seen[1:], strict=False)]
    assert changed == [True, False, True, False, True, True, True, True]
    assert is_finite(result.checkpoint)


def test_a_row_of_them_ends_the_training(tmp_path, monkeypatch):
    poison(monkeypatch, lambda step: step >= 2 * STEPS)
    with pytest.raises(TrainingDivergedError, match=r"in the last 10 steps \(epoch 5"):
        train(small_config(max_epochs=100), tmp_path, data=SETS, progress=False)
    assert is_finite(tmp_path / "last.ckpt")
    assert not (tmp_path / "finished.json").exists()


def test_a_run_without_a_good_step_is_not_finished(tmp_path, monkeypatch):
    poison(monkeypatch, lambda _: True)
    with pytest.raises(TrainingDivergedError, match="in the last 3 steps"):
        train(small_config(max_epochs=1), tmp_path, data=SETS, progress=False)
    assert not (tmp_path / "last.ckpt").exists()


def test_the_command_ends_in_one_line(tmp_path, capsys):
    words = ["data=demo", "denoiser.dim=8", "denoiser.num_blocks=1", "process.num_steps=20"]
    words += ["optimizer.lr=1e30", "optimizer.warmup_steps=1", "device=cpu", "max_epochs=20"]
    with pytest.raises(SystemExit) as end:
        main(["train", *words, "--out", str(tmp_path)])
    assert end.value.code == 2
    assert "error: the training diverged" in capsys.readouterr().err.splitlines()[-1]


def test_evaluators_diverge_too(tmp_path):
    crystals = load_dataset("demo", "val").crystals()
    with pytest.raises(TrainingDivergedError):
        train_evaluator(
            crystals, "formation_energy_per_atom", tmp_path, preset="fast", lr=1e30,
            device="cpu", progress=False,
        )  # fmt: skip
    assert not (tmp_path / "evaluator.safetensors").exists()


def test_a_validation_loss_that_is_no_number_is_told(tmp_path, monkeypatch, caplog):
    validate = DiffusionModule.validation_step

    def poisoned(self, batch, batch_idx):
        batch.lattice = batch.lattice * float("nan")
        return validate(self, batch, batch_idx)

    monkeypatch.setattr(DiffusionModule, "validation_step", poisoned)
    train(small_config(max_epochs=1), tmp_path / "bad", data=SETS, progress=False)
    assert re.match("epoch 0: val/.* is not finite", warnings(caplog)[0])
    caplog.clear()
    monkeypatch.setattr(DiffusionModule, "validation_step", validate)
    train(small_config(max_epochs=1), tmp_path / "good", data=SETS, progress=False)
    assert warnings(caplog) == []


@pytest.mark.parametrize("part", ["state_dict", "current_model_state"])
def test_weights_that_are_no_numbers_are_not_written(part):
    refuse_non_finite({part: {"a": torch.ones(2), "index": torch.tensor([1])}})
    with pytest.raises(TrainingDivergedError, match="b is not finite"):
        refuse_non_finite({part: {"a": torch.ones(2), "b": torch.tensor([1.0, torch.inf])}})
