"""Crystals in the form of other pipelines."""

import torch
from torch_geometric.data import Batch, Data

from pyg_crysdiff.adapters.data import diffcsp_data, lengths_and_cosines, limit_density
from pyg_crysdiff.data import Crystal


def hexagonal() -> Data:
    lattice = torch.tensor([[[3.0, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5.0]]])
    return Data(atomic_numbers=torch.tensor([12, 8]), frac_coords=torch.rand(2, 3), lattice=lattice)


def test_cell_of_a_hexagonal_crystal():
    lengths, cosines = lengths_and_cosines(hexagonal())
    torch.testing.assert_close(lengths, torch.tensor([3.0, 3.0, 5.0], dtype=torch.float64))
    expected = torch.tensor([0.0, 0.0, -0.5], dtype=torch.float64)
    torch.testing.assert_close(cosines, expected, rtol=0, atol=1e-7)


def test_diffcsp_batches():
    batch = Batch.from_data_list(diffcsp_data([hexagonal(), hexagonal()]))
    assert batch.num_atoms.tolist() == [2, 2]
    assert batch.lengths.shape == batch.angles.shape == (2, 3)
    torch.testing.assert_close(batch.angles[1], torch.tensor([90.0, 90.0, 120.0]))
    # lengths and angles name the same cell
    volume = Crystal.from_parameters(batch.lengths[0], batch.angles[0], [[0, 0, 0]], [12]).volume
    torch.testing.assert_close(float(volume), float(torch.det(hexagonal().lattice[0])))


def test_density_counts_all_atoms():
    items = [hexagonal(), hexagonal()]
    volume = float(torch.det(hexagonal().lattice[0]))
    assert abs(limit_density(items) - 2 / volume) < 1e-6
