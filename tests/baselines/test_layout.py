"""Live runs of checkouts laid out as CDVAE's and DiffCSP's, on a small made one."""

import argparse

import numpy as np
import pytest

from pyg_crysdiff.baselines import LiveRequest, load_baseline, run_live
from pyg_crysdiff.cli import benchmark
from pyg_crysdiff.data import Crystal
from tests.conftest import make_crystal

_CONFIG = """
defaults: [_self_, data: any, model: diffusion_w_type]
logging: {}
optim: {lr: 0.1}
train: {pl_trainer: {gradient_clip_val: 0.5, gradient_clip_algorithm: value}}
"""
_DATA = """
root_path: none
prop: none
max_atoms: 1
preprocess_workers: 0
train_max_epochs: 3
datamodule: {_target_: peer.Module, root: "${data.root_path}", prop: "${data.prop}"}
"""
_MODEL = "{_target_: peer.Model, timesteps: 7}"
_PEER = """
from types import SimpleNamespace
import argparse

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

class Module(pl.LightningDataModule):
    def __init__(self, root, prop):
        super().__init__()
        table = pd.read_csv(root + "/train.csv")
        self.values = torch.tensor(table[prop].to_numpy(), dtype=torch.float)
        entries = [{"graph_arrays": (None, np.ones(n))} for n in (2, 2, 3)]
        torch.save(entries, root + "/entries.pt")
        self.train_dataset = SimpleNamespace(cached_data=torch.load(root + "/entries.pt"))
        self.lattice_scaler = self.scaler = torch.zeros(1).numpy()
    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.values, batch_size=2)
    val_dataloader = train_dataloader

class Model(pl.LightningModule):
    def __init__(self, timesteps, optim, data, logging):
        super().__init__()
        self.weight, self.rate = torch.nn.Parameter(torch.zeros(())), optim.lr
        self.beta_scheduler = SimpleNamespace(timesteps=timesteps)
    def training_step(self, batch, _):
        loss = (self.weight - batch).square().mean()
        self.log("train_loss", loss)
        return loss
    def validation_step(self, batch, _):
        self.log("val_loss", self.weight)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.rate)
"""
_GENERATION = """
import chemparse, torch
def diffusion(loader, model, step_lr):
    assert step_lr == 0.25 and not model.training and model.weight > 0
    sizes = torch.cat([batch.num_atoms for batch in loader])
    assert [batch.num_graphs for batch in loader] == [100, 20]
    n, atoms = len(sizes), sum(batch.num_nodes for batch in loader)
    three = torch.full((n, 3), float(model.beta_scheduler.timesteps))
    return (torch.rand(atoms, 3), torch.full((atoms,), 6), None, three, 0 * three + 90, sizes)
"""


@pytest.fixture
def checkout(tmp_path):
    files = {
        "conf/default.yaml": _CONFIG,
        "conf/data/any.yaml": _DATA,
        "conf/model/diffusion_w_type.yaml": _MODEL,
        "peer.py": _PEER,
        "scripts/generation.py": _GENERATION,
        "scripts/eval_utils.py": "recommand_step_lr = {'gen': {'any': 0.25}}",
        "diffcsp/pl_modules/diffusion_w_type.py": "",
    }
    for name, text in files.items():
        (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "checkout" / name).write_text(text)
    return tmp_path / "checkout"


@pytest.mark.parametrize("steps", [None, 4])
def test_diffcsp_is_trained_and_sampled_by_its_own_code(checkout, tmp_path, rng, steps):
    crystals = [
        Crystal(c.lattice, c.frac_coords, c.atomic_numbers, {"e": 2.0})
        for c in (make_crystal(rng, 2) for _ in range(4))
    ]
    request = LiveRequest(
        checkout=str(checkout), work=str(tmp_path / "work"), config="any", property_name="e",
        max_atoms=2, minutes=1.0, num_samples=120, sampler_steps=steps,
    )  # fmt: skip
    samples, facts = run_live(load_baseline("diffcsp"), request, crystals, crystals)
    assert list(samples) == ["generation"]
    found = samples["generation"]
    assert len(found) == 120
    assert facts["steps"] == (steps or 7)
    assert facts["epochs"] == 3
    assert np.linalg.norm(found[0].lattice, axis=1) == pytest.approx([facts["steps"]] * 3)
    sizes = np.array([len(c) for c in found])
    assert set(sizes) == {2, 3}
    assert 60 < (sizes == 2).sum() < 100  # two in three, as in training


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, {}),
        ("10", {"cdvae": 10, "diffcsp": 10}),
        ("diffcsp=100", {"diffcsp": 100}),
        ("5,diffcsp=100", {"cdvae": 5, "diffcsp": 100}),
    ],
)
def test_steps_of_live_peers_by_name(tmp_path, given, found):
    options = [f"--baseline={name}={tmp_path}" for name in ("cdvae", "diffcsp")]
    options += [] if given is None else ["--baseline-steps", given]
    assert steps_of_peers(options) == found


@pytest.mark.parametrize("given", ["symat=3", "10"])
def test_steps_of_no_live_peer_are_refused(tmp_path, given):
    options = [f"--baseline=cdvae={tmp_path}"] if "=" in given else []
    with pytest.raises(ValueError, match=r"--baseline-steps .*: it needs --baseline \w+=PATH"):
        steps_of_peers([*options, "--baseline-steps", given])


@pytest.mark.parametrize("given", ["cdvae=3,cdvae=4", "3,4"])
def test_two_numbers_of_steps_for_one_peer_are_refused(tmp_path, given, capsys):
    with pytest.raises(SystemExit):
        steps_of_peers([f"--baseline=cdvae={tmp_path}", "--baseline-steps", given])
    assert "is given twice" in capsys.readouterr().err


def steps_of_peers(options):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return benchmark._steps_of_peers(parser.parse_args(options))
