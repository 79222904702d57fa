"""Every conditioner that can be named on the command line builds, trains and obeys the rules."""

import pytest
import torch
from torch_geometric.data import Batch

from pyg_crysdiff.configuration import config_folder
from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.training import compose_config
from tests.helpers import toy_set

NAMES = sorted(path.stem for path in (config_folder() / "conditioner").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_conditioner_by_its_yaml(name):
    data = toy_set(6)
    small = ["denoiser.dim=16", "denoiser.num_blocks=2", "process.num_steps=20"]
    config = compose_config([f"conditioner={name}", *small])
    torch.manual_seed(0)
    model = build_model(config, DataStatistics.from_dataset(data, ["energy"]))
    batch = Batch.from_data_list([data[k] for k in range(6)])
    loss = model.loss(batch, torch.Generator().manual_seed(0))["total"]
    loss.backward()
    assert loss.isfinite()
    assert any(
        p.grad is not None and bool(p.grad.any()) for p in model.denoiser.conditioner.parameters()
    )
