import json
import math
import subprocess
import sys

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from pyg_crysdiff.data import load_dataset
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.training import compose_config, config_folder, resume, train
from pyg_crysdiff.training.data import conditions, load_data
from pyg_crysdiff.training.samplers import EpochOrder
from pyg_crysdiff.training.trainer import _share
from tests.helpers import same_weights, small_config, toy_sets

SETS = toy_sets()


class Interrupt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("power cut")


def last_losses(folder):
    rows = (folder / "metrics.csv").read_text().strip().splitlines()
    return rows[-1]


def test_resumed_run_equals_uninterrupted(tmp_path):
    config = small_config(max_epochs=4)
    whole = train(config, tmp_path / "whole", data=SETS, progress=False)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path / "cut", data=SETS, progress=False, callbacks=[Interrupt(2)])
    parts = resume(tmp_path / "cut", data=SETS, progress=False)
    assert parts.epochs == whole.epochs == 4
    a, b = (load_checkpoint(r.checkpoint).model for r in (whole, parts))
    assert same_weights(a, b)
    raw = [
        torch.load(r.checkpoint, weights_only=True)["current_model_state"] for r in (whole, parts)
    ]
    assert all(torch.equal(raw[0][k], raw[1][k]) for k in raw[0])


def test_shares_of_the_training_set(tmp_path):
    config = small_config(max_epochs=1, data={"name": "demo"}, properties="auto")
    sizes = []
    for share in (0.05, 1.0):
        out = train(config | {"train_fraction": share}, tmp_path / str(share), progress=False)
        sizes.append(load_checkpoint(out.checkpoint).card["num_train"])
    assert sizes[0] == round(0.05 * sizes[1])
    whole = load_dataset("demo", "train")
    parts = [_share(whole, share, 0) for share in (0.1, 0.3)]
    names = [{crystal.digest() for crystal in part.crystals()} for part in parts]
    assert len(names[0]) < len(names[1]) < len(whole)
    assert names[0] < names[1]
    with pytest.raises(ValueError, match="train_fraction"):
        train(config | {"train_fraction": 0.0}, tmp_path / "none", progress=False)


def test_same_seed_same_result_other_seed_other_result(tmp_path):
    models = [
        load_checkpoint(
            train(
                small_config(max_epochs=1, seed=s), tmp_path / str(i), data=SETS, progress=False
            ).checkpoint
        ).model
        for i, s in enumerate((0, 0, 1))
    ]
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


def test_training_lowers_the_loss(tmp_path):
    config = small_config(max_epochs=60, validate_every=5)
    config["optimizer"].update(lr=5e-3, ema_decay=0.9)
    result = train(config, tmp_path, data=SETS, progress=False)
    header, *rows = (tmp_path / "metrics.csv").read_text().strip().splitlines()
    column = header.split(",").index("val/lattice")
    values = [float(r.split(",")[column]) for r in rows if r.split(",")[column]]
    assert values[-1] < 0.8 * values[0]
    for field in ("lattice", "coordinates", "species"):
        assert f"val/{field}" in header
    assert result.num_parameters == sum(
        p.numel() for p in load_checkpoint(result.checkpoint).model.parameters()
    )


def test_time_budget_ends_training_with_a_checkpoint(tmp_path):
    config = small_config(max_epochs=100_000, budget_minutes=0.02, validate_every=1000)
    result = train(config, tmp_path, data=SETS, progress=False)
    assert result.checkpoint.is_file()
    assert 0 < result.epochs < 100_000
    assert load_checkpoint(result.checkpoint).card["dataset"] == "toy"


def test_checkpoint_carries_all_that_sampling_needs(tmp_path):
    loaded = load_checkpoint(
        train(small_config(max_epochs=1), tmp_path, data=SETS, progress=False).checkpoint
    )
    assert loaded.model.statistics.elements == (6, 8, 22, 38)
    assert loaded.model.statistics.num_atoms
    assert loaded.model.properties == ("energy",)
    assert loaded.config["process"]["num_steps"] == 20
    assert loaded.card["split"] == "generated"


def test_folder_of_another_run_is_refused(tmp_path):
    train(small_config(max_epochs=1), tmp_path, data=SETS, progress=False)
    with pytest.raises(ValueError, match=r"another configuration.*seed"):
        train(small_config(max_epochs=1, seed=5), tmp_path, data=SETS, progress=False)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        resume(tmp_path / "nowhere")


def test_longer_run_goes_on_from_the_shorter_one(tmp_path):
    train(small_config(max_epochs=1), tmp_path, data=SETS, progress=False)
    assert train(small_config(max_epochs=3), tmp_path, data=SETS, progress=False).epochs == 3


@pytest.mark.parametrize("damage", ["truncate", "text", "other", "pickle"])
def test_damaged_checkpoint_says_so(tmp_path, damage):
    path = train(small_config(max_epochs=1), tmp_path, data=SETS, progress=False).checkpoint
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "other":
        torch.save({"weights": torch.zeros(1)}, path)
    else:
        torch.save({"pyg_crysdiff": Interrupt(1)}, path)
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        load_checkpoint(path)


def test_missing_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")


CHOICES = [
    f"{group.name}={file.stem}"
    for group in sorted(config_folder().iterdir())
    if group.is_dir() and group.name != "baselines"  # tables, tested with the baselines
    for file in sorted(group.glob("*.yaml"))
]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_yaml_composes(choice):
    extra = ["data.name=my.csv"] if choice == "data=own" else []
    if choice.split("=")[0] in ("descriptor", "reconstruction"):
        extra = ["family=structrepdiff"]
    config = compose_config([choice, *extra])
    assert json.loads(json.dumps(config)) == config


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("colour=red", "colour"),
        ("optimizer.speed=1", "speed"),
        ("data=nowhere", "nowhere"),
        ("data=own", "name"),
    ],
)
def test_unknown_keys_and_missing_values_are_refused(override, word):
    with pytest.raises(ValueError, match=word):
        compose_config([override])


def test_two_processes_train_one_model(tmp_path):
    """Lightning's ddp over gloo: both see other crystals and noise, and keep the same weights."""
    overrides = [
        "data=demo", "denoiser.dim=8", "denoiser.num_blocks=1", "denoiser.num_waves=2",
        "denoiser.pair_hidden=4", "max_epochs=2", "validate_every=1", "process.num_steps=20",
        "device=cpu", "precision=32-true", "devices=2", "strategy=ddp",
    ]  # fmt: skip
    command = [sys.executable, "-m", "pyg_crysdiff", "train", *overrides, "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "2 epochs" in done.stdout
    loaded = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert loaded.card["num_train"] > 0
    steps = math.ceil(math.ceil(loaded.card["num_train"] / 2) / 128)
    assert loaded.card["global_step"] == 2 * steps
    assert json.loads((tmp_path / "run" / "finished.json").read_text())["epochs"] == 2


def test_order_is_dealt_out_to_processes():
    whole = list(EpochOrder(7, 0, lambda: 3))
    parts = [list(EpochOrder(7, 0, lambda: 3, rank, 2)) for rank in (0, 1)]
    assert parts == [whole[::2], [*whole[1::2], whole[0]]]
    assert len(EpochOrder(7, 0, lambda: 3, 0, 2)) == 4


def test_data_set_of_ones_own_by_its_class():
    from pyg_crysdiff.data import Demo

    train_set, val_set = load_data({"_target_": "pyg_crysdiff.data.Demo"})
    assert isinstance(train_set, Demo)
    assert len(val_set) < len(train_set)
    assert conditions(train_set, val_set, "auto") == [train_set.property_name]
    with pytest.raises(ValueError, match="not trusted"):
        load_data({"_target_": "elsewhere.Mine"})
    with pytest.raises(ValueError, match="not a subclass"):
        load_data({"_target_": "pyg_crysdiff.data.Crystal"})
