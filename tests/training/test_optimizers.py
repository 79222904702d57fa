"""AdamW, and Muon for the matrices of the blocks: each weight by its own optimiser."""

import copy
import json

import pytest
import torch
from torch import nn

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models import build_model, load_checkpoint
from pyg_crysdiff.training import resume, train
from pyg_crysdiff.training.optimizers import (
    block_matrices,
    build_optimizer,
    described,
    leave_out,
)
from tests.helpers import same_weights, small_config, toy_sets
from tests.training.test_training import Interrupt

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch before 2.9")
OPTIONS = {"lr": 0.01, "matrix_lr": 3.0, "betas": [0.9, 0.99], "weight_decay": 0.0}
SETS = toy_sets()


class Net(nn.Module):
    """A network with blocks, and layers before and behind them."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(4, 6)
        self.blocks = nn.ModuleList(nn.Linear(6, 6) for _ in range(2))
        self.out = nn.Linear(6, 1)

    def forward(self, x):
        x = self.embedding(x)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.out(x).square().mean()


def make(name, generator, seed=0):
    torch.manual_seed(seed)
    net = Net()
    x = torch.randn(8, 4, generator=generator)
    return net, build_optimizer(net, {**OPTIONS, "name": name}), x


def step(net, optimizer, x):
    optimizer.zero_grad()
    net(x).backward()
    optimizer.step()


@needs_muon
def test_matrices_of_blocks_step_along_the_nearest_orthogonal_matrix(generator):
    net, optimizer, x = make("muon", generator)
    net(x).backward()
    before, singular = copy.deepcopy(net), torch.linspace(0.2, 1.0, 6)
    nearest = []
    for block in net.blocks:
        u, _, v = torch.linalg.svd(torch.randn(6, 6, generator=generator))
        block.weight.grad.copy_(u * singular @ v)
        nearest.append(u @ v)
    optimizer.step()
    for old, new, direction in zip(before.blocks, net.blocks, nearest, strict=True):
        expected = -0.03 * 0.2 * 6**0.5 * direction  # lr times the factor of arXiv 2502.16982
        change = (new.weight - old.weight).detach()
        # Five Newton-Schulz steps bring singular values near one, not to it (0.7 to 1.2).
        cosine = (change * expected).sum() / change.norm() / expected.norm()
        assert cosine > 0.95
        assert change.norm() == pytest.approx(float(expected.norm()), rel=0.25)


@needs_muon
def test_all_other_weights_step_as_with_adamw_alone(generator):
    net, optimizer, x = make("muon", generator)
    other, adamw, _ = make("adamw", generator)
    assert same_weights(net, other)
    step(net, optimizer, x)
    step(other, adamw, x)
    matrices = {id(p) for p in block_matrices(net)}
    assert len(matrices) == 2
    for (name, a), b in zip(net.named_parameters(), other.parameters(), strict=True):
        assert a.equal(b) == (id(a) not in matrices), name


@needs_muon
def test_state_is_saved_and_read(generator):
    net, optimizer, x = make("muon", generator)
    step(net, optimizer, x)
    again = copy.deepcopy(net)
    other = build_optimizer(again, {**OPTIONS, "name": "muon"})
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for n, o in ((net, optimizer), (again, other)):
        for group in o.param_groups:
            group["lr"] *= 0.5  # the groups that are read are those that step
        step(n, o, x)
    assert same_weights(net, again)


@needs_muon
@pytest.mark.parametrize("bad", [False, True])
def test_a_step_that_is_left_out_changes_nothing(generator, bad):
    net, optimizer, x = make("muon", generator)
    step(net, optimizer, x)
    before = copy.deepcopy(net)
    net(x).backward()
    leave_out(optimizer, torch.tensor(bad))
    optimizer.step()
    assert same_weights(net, before) is bad


@needs_muon
def test_a_run_with_muon_resumes_to_the_same_bits(tmp_path):
    config = small_config(max_epochs=4)
    config["optimizer"]["name"] = "muon"
    whole = train(config, tmp_path / "whole", data=SETS, progress=False)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, tmp_path / "cut", data=SETS, progress=False, callbacks=[Interrupt(2)])
    parts = resume(tmp_path / "cut", data=SETS, progress=False)
    a, b = (load_checkpoint(r.checkpoint).model for r in (whole, parts))
    assert same_weights(a, b)


@needs_muon
def test_a_run_does_not_go_on_with_another_optimiser(tmp_path, monkeypatch):
    config = small_config(max_epochs=2)
    for name, other, message in (
        ("adamw", "muon", "had AdamW alone; set optimizer.name=adamw"),
        ("auto", "auto", "had Muon beside AdamW, .* PyTorch 2.9 or later"),
    ):
        run, config["optimizer"]["name"] = tmp_path / name, name
        train(config, run, data=SETS, progress=False)
        if other == "auto":  # an older PyTorch
            monkeypatch.delattr(torch.optim, "Muon")
        else:
            noted = json.loads((run / "config.json").read_text())
            noted["optimizer"]["name"] = other
            (run / "config.json").write_text(json.dumps(noted))
        with pytest.raises(ValueError, match=message):
            resume(run, ["max_epochs=4"], data=SETS, progress=False)


def test_the_network_of_a_configuration_has_matrices_in_blocks():
    model = build_model(small_config(), DataStatistics.from_dataset(SETS[0], []))
    names = {id(p): name for name, p in model.named_parameters()}
    found = [names[id(p)] for p in block_matrices(model)]
    assert found
    assert all(".blocks." in name for name in found)


@needs_muon
def test_a_network_without_blocks_has_adamw_or_is_told():
    net = nn.Linear(3, 3)
    assert isinstance(build_optimizer(net, {**OPTIONS, "name": "auto"}), torch.optim.AdamW)
    with pytest.raises(ValueError, match="blocks"):
        build_optimizer(net, {**OPTIONS, "name": "muon"})


def test_an_older_torch_has_adamw_or_is_told(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    assert isinstance(build_optimizer(Net(), {**OPTIONS, "name": "auto"}), torch.optim.AdamW)
    with pytest.raises(ValueError, match="needs PyTorch 2"):
        build_optimizer(Net(), {**OPTIONS, "name": "muon"})


@needs_muon
def test_what_has_which_optimiser_is_said():
    auto, plain = (described(Net(), {"name": name}) for name in ("auto", "adamw"))
    assert auto == "Muon for the 2 matrices of the blocks, AdamW for 6 other weights"
    assert plain == "AdamW"
    assert described(nn.Linear(2, 2), {"name": "auto"}) == "AdamW"


@needs_muon
def test_on_a_gpu_nobody_looks_whether_a_step_is_left_out(generator):
    net, together, _ = make("muon", generator)
    optimizer = together.parts[1]  # Muon alone; tensors without values stand for a GPU's
    for block in net.blocks:
        block.weight = nn.Parameter(block.weight.to("meta"))
        block.weight.grad = torch.ones_like(block.weight)
    optimizer.param_groups[0]["params"] = [block.weight for block in net.blocks]
    leave_out(optimizer, torch.ones((), dtype=torch.bool, device="meta"))
    assert all(block.weight.grad is not None for block in net.blocks)


@pytest.mark.parametrize("value", ["adam", None, 3])
def test_an_unknown_optimiser_is_told_before_anything_is_read(tmp_path, value):
    config = small_config()
    config["optimizer"]["name"] = value
    with pytest.raises(ValueError, match=r"optimizer.name=.* must be one of auto, muon, adamw"):
        train(config, tmp_path, data=SETS, progress=False)
