"""The order of training crystals, known from (seed, epoch) also after a resume."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Data

from pyg_crysdiff.data.properties import property_of
from pyg_crysdiff.diffusion.noise import crystal_seed


class EpochOrder(Sampler[int]):
    """The crystals of an epoch, by (seed, epoch) alone, dealt out to the processes.

    Without a focus each epoch is a permutation. With one, a share of its places goes to crystals
    drawn with replacement from the focused ones, the others to the front of the permutation; the
    epoch keeps its length.

    Args:
        count: Number of items.
        seed: Seed.
        epoch: Returns the current epoch.
        rank: Number of this process.
        world_size: Number of processes; all get the same number of items, the last ones again
            from the front of the epoch where the division leaves a rest.
        focus: Indices that are drawn more often (:func:`focused_rows`).
        share: Share of the places that goes to them, 0 to 1.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        epoch: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
        focus: Tensor | None = None,
        share: float = 0.0,
    ) -> None:
        self.count, self.seed, self.epoch = count, seed, epoch
        self.rank, self.world_size = rank, world_size
        self.focus, self.num_focused = focus, 0 if focus is None else round(share * count)

    def __len__(self) -> int:
        return (self.count + self.world_size - 1) // self.world_size

    def __iter__(self) -> Iterator[int]:
        seed = crystal_seed(self.seed, self.epoch(), "order")
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.count, generator=generator)
        if self.focus is not None:
            drawn = torch.randint(len(self.focus), (self.num_focused,), generator=generator)
            order = torch.cat([self.focus[drawn], order[self.num_focused :]])
            order = order[torch.randperm(self.count, generator=generator)]
        places = self.rank + self.world_size * torch.arange(len(self))
        yield from order[places % self.count].tolist()


def with_focus(dataset: Sequence[Data], rows: Tensor) -> tuple[list[Data], Tensor]:
    """Return a data set with some of its rows once more at its end, and the places of these.

    The added crystals never hide their condition
    (:meth:`pyg_crysdiff.nn.conditioning.ConditionEmbedding.read`): what is drawn from them shifts
    neither the unconditional model nor what guidance holds the condition against.
    """
    items = [copy.copy(dataset[k]) for k in range(len(dataset))]
    items += [copy.copy(items[k]) for k in rows.tolist()]
    for place, data in enumerate(items):
        data.always_given = torch.tensor([place >= len(dataset)])
    return items, torch.arange(len(dataset), len(items))


def focused_rows(
    dataset: Sequence[Data],
    properties: Sequence[str],
    focus: Mapping[str, Any],
    numbers: Sequence[str] = (),
) -> Tensor:
    """Return the rows of a data set at one end of a property, of those whose value is known.

    Args:
        dataset: Training set.
        properties: The conditioning properties.
        focus: ``end`` (``lowest`` or ``highest``), ``part`` (how much of the set that end is,
            above 0 and at most 1), ``share`` (of the training that goes there, 0 to 1), and
            ``property`` where there are several, or it is another number of the data set.
        numbers: All numbers of the data set.

    Raises:
        ValueError: If a field is missing, unknown or out of its range.
    """
    fields = {"end", "part", "share"}
    if not fields <= set(focus) <= fields | {"property"}:
        raise ValueError(f"focus needs {sorted(fields)} and perhaps property, got {dict(focus)}")
    name = focus.get("property", properties[0] if len(properties) == 1 else None)
    if name not in (*properties, *numbers):
        possible = list(dict.fromkeys([*properties, *numbers]))
        raise ValueError(f"focus.property must be one of {possible}, got {name!r}")
    if focus["end"] not in ("lowest", "highest"):
        raise ValueError(f"focus.end must be lowest or highest, got {focus['end']!r}")
    if not (0 < focus["part"] <= 1 and 0 <= focus["share"] <= 1):
        raise ValueError(f"focus.part and focus.share must lie between 0 and 1, got {dict(focus)}")
    values = torch.tensor([float(property_of(d, name)) for d in dataset], dtype=torch.float64)
    known = (~values.isnan()).nonzero().view(-1)
    number = max(1, round(focus["part"] * len(known)))
    order = values[known].argsort(descending=focus["end"] == "highest", stable=True)
    return known[order[:number]]
