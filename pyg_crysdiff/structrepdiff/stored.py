"""Representations and space groups of data sets, computed once and kept in the cache folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.data.properties import property_of, set_properties
from pyg_crysdiff.platform import cache_folder
from pyg_crysdiff.progress import bar
from pyg_crysdiff.storage import facts_digest, kept, read_keyed, replacing, write_json
from pyg_crysdiff.structrepdiff.representation import Representation
from pyg_crysdiff.structrepdiff.symmetry import group_frequencies

if TYPE_CHECKING:
    from torch_geometric.data import Data, InMemoryDataset

_CHUNK = 64
_FEW = 1000  # what takes a second or two, for so many crystals, is not kept
_FORM = 1  # to be raised when representations change for the same settings


def representations(
    representation: Representation, dataset: InMemoryDataset, progress: bool = True
) -> Tensor:
    """Return the representations of a data set, (M, D).

    Those of more than a thousand crystals are kept in ``representations`` of the cache folder under
    a digest of crystals and settings, and mapped into memory from there the next time.

    Args:
        representation: Descriptor.
        dataset: Crystals, as the datasets of this package have them.
        progress: Show a progress bar.

    Raises:
        ValueError: If an element is not in the representation's list.
    """

    def make() -> Tensor:
        return _computed(representation, dataset, progress)

    def read(path: Path) -> Tensor:
        found = np.load(path, mmap_mode="c", allow_pickle=False)
        if found.shape != (len(dataset), representation.dim) or found.dtype != np.float32:
            raise ValueError(f"{path} holds other representations")
        return torch.from_numpy(found)

    if len(dataset) <= _FEW or representation.elements.device.type != "cpu":
        return make()
    name = f"{_digest(representation, dataset)}.npy"
    return kept(cache_folder() / "representations" / name, read, make, _write)


def represented(
    representation: Representation,
    dataset: InMemoryDataset,
    properties: Sequence[str] = (),
    progress: bool = True,
) -> list[Data]:
    """Return the crystals of a data set as a model of representations takes them.

    Args:
        representation: Descriptor.
        dataset: Crystals.
        properties: Names of the properties that come along.
        progress: Show a progress bar.

    Returns:
        Data with ``representation`` (1, D), and the properties.
    """
    from torch_geometric.data import Data  # noqa: PLC0415  (takes seconds to import)

    out = []
    for k, row in enumerate(representations(representation, dataset, progress).split(1)):
        values = {name: float(property_of(dataset[k], name)) for name in properties}
        out.append(set_properties(Data(representation=row, num_nodes=1), values))
    return out


def group_counts(
    dataset: InMemoryDataset, symprec: float = 0.1, progress: bool = True
) -> dict[int, int]:
    """Count the space groups of a data set, international number to count.

    Those of more than a thousand crystals are kept as representations are.

    Args:
        dataset: Crystals, as the datasets of this package have them.
        symprec: Distance tolerance of spglib, in A.
        progress: Show a progress bar.
    """

    def make() -> dict[int, int]:
        count = len(dataset)
        crystals = (Crystal.from_data(dataset[k]) for k in range(count))
        shown = bar(crystals, label="space groups", total=count, show=progress)
        return group_frequencies(shown, symprec)

    if len(dataset) <= _FEW:
        return make()
    facts = {"kind": "space groups", "symprec": symprec, "spglib": version("spglib")}
    key = facts_digest(facts, _contents(dataset))

    def read(path: Path) -> dict[int, int]:
        return {int(number): int(n) for number, n in read_keyed(path, key)["counts"].items()}

    def write(path: Path, counts: dict[int, int]) -> None:
        write_json(path, {"key": key, "counts": counts})

    return kept(cache_folder() / "representations" / f"groups-{key}.json", read, make, write)


def _write(path: Path, values: Tensor) -> None:
    with replacing(path) as temporary:
        np.save(temporary, values.numpy())


def _computed(representation: Representation, dataset: InMemoryDataset, progress: bool) -> Tensor:
    from torch_geometric.data import Batch  # noqa: PLC0415  (takes seconds to import)

    parts = []
    for start in bar(range(0, len(dataset), _CHUNK), label="representations", show=progress):
        items = [dataset[k] for k in range(start, min(start + _CHUNK, len(dataset)))]
        parts.append(representation(Batch.from_data_list(items)))
    return torch.cat(parts) if parts else torch.empty(0, representation.dim)


def _digest(representation: Representation, dataset: InMemoryDataset) -> str:
    ead = representation.ead
    facts = {
        "form": _FORM,
        "elements": representation.elements.tolist(),
        "L": ead.L,
        "functions": [ead.sums.eta.tolist(), ead.sums.centres.tolist()],
        "cutoff": ead.cutoff,
        "root": representation.root,
        **({"counts": True} if representation.counts else {}),
    }
    return facts_digest(facts, _contents(dataset))


def _contents(dataset: InMemoryDataset) -> Iterator[bytes]:
    """The bytes of all lattices, coordinates and species."""
    rows = (dataset[k] for k in range(len(dataset)))
    return (
        value.contiguous().numpy().tobytes()
        for row in rows
        for value in (row.lattice, row.frac_coords, row.atomic_numbers)
    )
