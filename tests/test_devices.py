"""Devices by name, constants for devices without double precision, the host's allocator."""

import ctypes

import pytest
import torch

from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.platform import DoubleTable, choose_device, choose_devices
from pyg_crysdiff.training import compose_config, train
from tests.helpers import small_config, toy_set

SETS = toy_set(8), toy_set(4)


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("auto", "cuda"), (None, "cuda"), ("gpu", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"),
        ("gpu:1", "cuda:1"), ("GPU", "cuda"), ("cpu", "cpu"), ("cpu:0", "cpu"),
        (torch.device("cuda", 1), "cuda:1"),
    ],
)  # fmt: skip
def test_devices_by_name(name, device):
    assert choose_device(name) == torch.device(device)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("name", ["cuda:7", "cuda:2", "gpu:2", "mps", "cpu:1"])
def test_devices_that_there_are_not(name):
    with pytest.raises(ValueError, match=f"no device '{name}'"):
        choose_device(name)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:0", "mps"])
def test_no_gpu_at_all(name):
    with pytest.raises(ValueError, match=f"no device '{name}'.*none"):
        choose_device(name)


@pytest.mark.parametrize(
    "name", ["tpu", "cuda:x", "cuda:", "cuda:-1", "cuda:²", "", "cuda 1", "xla:0"]
)
def test_what_is_no_device(name):
    with pytest.raises(ValueError, match="unknown device"):
        choose_device(name)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("devices", "device", "taken"),
    [
        ("auto", "cpu", 1), (-1, "cpu", 1), (3, "cpu", 3), ("2", "cpu", 2),
        ("auto", "cuda", [0, 1]), (-1, "cuda", [0, 1]), (1, "cuda", [0]), (2, "cuda", [0, 1]),
        ([1], "cuda", [1]), ("0,1", "cuda", [0, 1]), ("[1,0]", "cuda", [1, 0]),
        (1, "cuda:1", [1]), ("auto", "cuda:1", [1]), ("auto", "mps", 1), (1, "mps", 1),
    ],
)  # fmt: skip
def test_numbers_of_devices(devices, device, taken):
    assert choose_devices(devices, torch.device(device)) == taken


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("devices", "device"),
    [
        (0, "cpu"), (-2, "cpu"), ("many", "cpu"), (1.5, "cpu"), (None, "cpu"), (True, "cpu"),
        ([0, 1], "cpu"), ([], "cuda"), ([0, 0], "cuda"), ([2], "cuda"), ([-1], "cuda"), (3, "cuda"),
        (2, "cuda:1"), ([0], "cuda:1"), (2, "mps"),
    ],
)  # fmt: skip
def test_numbers_that_do_not_fit(devices, device):
    with pytest.raises(ValueError, match="does not fit device="):
        choose_devices(devices, torch.device(device))


def test_devices_auto_trains(tmp_path):
    for devices in ("auto", -1, "1"):
        config = small_config(max_epochs=1, devices=devices)
        assert train(config, tmp_path / str(devices), data=SETS, progress=False).epochs == 1
    with pytest.raises(ValueError, match="devices=many"):
        train(small_config(devices="many"), tmp_path / "many", data=SETS, progress=False)


def test_tables_in_the_precision_of_the_data():
    exact = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)
    table = DoubleTable(exact)
    with torch.inference_mode():
        single = table.on(torch.device("cpu"), torch.float32)
    assert torch.equal(single, exact.float())
    assert torch.equal(table.on(torch.device("cpu"), torch.float64), exact)
    weight = torch.ones(2, requires_grad=True)
    (weight * table.on(torch.device("cpu"), torch.float32)).sum().backward()
    assert torch.equal(weight.grad, exact.float())


def structrepdiff():
    from pyg_crysdiff.data.statistics import DataStatistics
    from pyg_crysdiff.models.build import build_model

    statistics = DataStatistics.from_dataset(toy_set(8), ["energy"])
    return build_model(compose_config(["family=structrepdiff"]), statistics)


@pytest.mark.parametrize("name", ["mp20-cdi", "perov5-cdi", "structrepdiff"])
def test_no_double_precision_goes_with_a_model(name):
    """Apple's MPS refuses it."""
    model = structrepdiff() if name == "structrepdiff" else load_checkpoint(name).model
    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert [key for key, value in held.items() if value.dtype == torch.float64] == []


def test_training_leaves_the_allocator_of_its_host_alone(tmp_path, monkeypatch):
    libraries = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name, *_: libraries.append(name))
    train(small_config(max_epochs=1), tmp_path, data=SETS, progress=False)
    assert "libc.so.6" not in libraries
