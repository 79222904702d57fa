"""Batches cut out of one set of tensors that stays on the device of the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Sampler
from torch_geometric.data import Batch, Data

from pyg_crysdiff.data.properties import common_names
from pyg_crysdiff.nn.layout import PairLayout
from pyg_crysdiff.platform import sent


class ResidentBatches:
    """Iterates over a data set in batches, like PyG's ``DataLoader``, without collating again.

    The sets of this field take some ten megabytes: all crystals are collated once, and a batch is
    a choice of rows. A ``DataLoader`` builds every crystal anew in every epoch, which for small
    crystals takes a fifth of the step's time. The batches carry what training reads, the tensors
    with one row per atom or per crystal, and the pair layout, which from the sizes at hand needs
    no waiting for the device.

    Args:
        data: Data set, or a list of data.
        batch_size: Crystals per batch; the last batch may be smaller.
        order: Indices of an epoch in their order.
        device: Where the batches are wanted.

    Raises:
        ValueError: If the crystals do not have the same properties.
    """

    def __init__(
        self,
        data: Sequence[Data],
        batch_size: int,
        order: Sampler[int] | Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.batches = BatchSampler(order, batch_size, drop_last=False)
        items = [data[k] for k in range(len(data))]
        self._names = common_names([item.get("property_names", []) for item in items])
        whole = Batch.from_data_list(items)
        self._sizes = torch.tensor([int(item.num_nodes or 0) for item in items])
        self._starts = self._sizes.cumsum(0) - self._sizes
        self._per_atom: dict[str, Tensor] = {}
        self._per_crystal: dict[str, Tensor] = {}
        for key, value in whole.items():
            if not isinstance(value, Tensor) or key in ("batch", "ptr"):
                continue
            if value.dim() and value.size(0) == len(items):
                self._per_crystal[key] = value.to(device)
            elif value.dim() and value.size(0) == int(self._sizes.sum()):
                self._per_atom[key] = value.to(device)
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for indices in self.batches:
            yield self._batch(torch.tensor(indices))

    def _batch(self, chosen: Tensor) -> Batch:
        sizes = self._sizes[chosen]
        ends = sizes.cumsum(0)
        first = self._starts[chosen] - (ends - sizes)
        rows = torch.repeat_interleave(first, sizes) + torch.arange(int(ends[-1]))
        owner = torch.repeat_interleave(torch.arange(len(chosen)), sizes)
        chosen, rows = sent(chosen, self.device), sent(rows, self.device)
        bounds = torch.cat([ends.new_zeros(1), ends])
        batch = Batch(batch=sent(owner, self.device), ptr=sent(bounds, self.device))
        for tensors, index in ((self._per_crystal, chosen), (self._per_atom, rows)):
            for key, value in tensors.items():
                batch[key] = value.index_select(0, index)
        if "properties" in batch:
            batch.property_names = self._names
        batch.layout = PairLayout.build(sizes, self.device)
        return batch
