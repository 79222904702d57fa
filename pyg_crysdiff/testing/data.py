"""Check a data set of your own, as training and sampling will read it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch_geometric.data import Batch, Data

from pyg_crysdiff.data.properties import property_of

_MOST = 64
_SHIFTED = ("index", "batch")


def assert_dataset(dataset: Sequence[Data], properties: Sequence[str] = ()) -> None:
    """Check a data set as training and sampling read it.

    Every ``Data`` (of up to 64) has ``atomic_numbers`` (N,) int64 of 1 to 118, ``frac_coords``
    (N, 3) in [0, 1), ``lattice`` (1, 3, 3) as rows in Angstrom with a volume, ``num_atoms`` (1,),
    and the properties (:func:`pyg_crysdiff.data.property_of`), NaN where one is not known. A batch
    collates to (B, 3, 3) lattices; no name has a part ("index", "batch") at which PyG changes
    values in collation.

    Args:
        dataset: A data set, or a list of ``Data``.
        properties: Properties to condition on.

    Raises:
        AssertionError: If a check fails; the message names the entry.
    """
    assert len(dataset) > 0, "the data set is empty"
    items = [dataset[k] for k in range(min(len(dataset), _MOST))]
    for k, data in enumerate(items):
        _check_entry(data, f"entry {k}", properties)
    batch = Batch.from_data_list(items)
    assert batch.lattice.shape == (len(items), 3, 3), (
        f"lattices must collate to (B, 3, 3), not {tuple(batch.lattice.shape)}: store (1, 3, 3)"
    )
    assert int(batch.num_atoms.sum()) == len(batch.atomic_numbers), (
        "num_atoms do not add up to the atoms of a batch"
    )
    for k, data in enumerate(items):
        for name, value in data:
            if isinstance(value, torch.Tensor):
                kept = batch.get_example(k)[name]
                same = kept.shape == value.shape and torch.allclose(
                    kept, value, rtol=0, atol=0, equal_nan=True
                )
                assert same, f"{name} of entry {k} changes in collation"


def _check_entry(data: Data, where: str, properties: Sequence[str]) -> None:
    wanted = ("atomic_numbers", "frac_coords", "lattice", "num_atoms")
    missing = [name for name in wanted if name not in data]
    assert not missing, f"{where} lacks {missing}"
    for name in data.to_dict():
        assert not any(part in name for part in _SHIFTED), (
            f"{where}: PyG shifts values named {name!r} in collation; choose another name, and for "
            "a property pyg_crysdiff.data.set_properties"
        )
    z, frac, lattice = data.atomic_numbers, data.frac_coords, data.lattice
    assert z.dtype == torch.long, f"{where}: atomic_numbers must be int64, not {z.dtype}"
    assert z.dim() == 1, f"{where}: atomic_numbers must have shape (N,)"
    assert len(z) > 0, f"{where} has no atoms"
    known = (z >= 1) & (z <= 118)
    assert bool(known.all()), f"{where}: atomic numbers are 1 to 118"
    assert frac.shape == (len(z), 3), f"{where}: frac_coords must have shape ({len(z)}, 3)"
    assert bool(frac.isfinite().all()), f"{where}: frac_coords are not finite"
    inside = (frac >= 0) & (frac < 1)
    assert bool(inside.all()), f"{where}: frac_coords must lie in [0, 1)"
    assert lattice.shape == (1, 3, 3), f"{where}: lattice must have shape (1, 3, 3)"
    assert float(torch.linalg.det(lattice.double()).abs()) > 1e-3, f"{where}: the cell is flat"
    assert int(data.num_atoms) == len(z), f"{where}: num_atoms is not the number of atoms"
    for name in properties:
        try:
            value = property_of(data, name)
        except (KeyError, ValueError) as error:
            raise AssertionError(f"{where} lacks the property {name}: {error.args[0]}") from error
        assert value.shape == (1,), f"{where}: property {name} must have one value"
        assert not bool(value.isinf().any()), f"{where}: property {name} is infinite"
