import torch
from torch import Tensor
from torch_geometric.loader import DataLoader

from pyg_crysdiff.data.statistics import DataStatistics
from pyg_crysdiff.models.build import build_model
from pyg_crysdiff.training.resident import ResidentBatches
from tests.helpers import small_config, toy_set


def test_batches_are_those_of_a_data_loader():
    data = toy_set(23)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0)).tolist()
    ours = ResidentBatches(data, 5, order)
    theirs = DataLoader(data, batch_size=5, sampler=order)
    assert len(ours) == len(theirs) == 5
    for a, b in zip(ours, theirs, strict=True):
        assert a.num_graphs == b.num_graphs
        for key, value in b.items():
            if isinstance(value, Tensor):
                assert a[key].equal(value), key
    for a, b in zip(ours, ours, strict=True):  # and again in the next epoch
        assert a.frac_coords.equal(b.frac_coords)


def test_loss_is_the_same_with_the_layout_that_the_batch_carries():
    data = toy_set(6)
    torch.manual_seed(0)
    model = build_model(small_config(), DataStatistics.from_dataset(data, ["energy"]))
    (ours,) = ResidentBatches(data, 6, [5, 0, 3, 1, 2, 4])
    (theirs,) = DataLoader(data, batch_size=6, sampler=[5, 0, 3, 1, 2, 4])
    losses = [
        model.loss(batch, torch.Generator().manual_seed(0))["total"] for batch in (ours, theirs)
    ]
    assert losses[0].equal(losses[1])
