"""EAD, neighbours and representation against direct sums, libraries and symmetries."""

import math

import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list
from torch_geometric.data import Batch

from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.structrepdiff import ead as ead_module
from pyg_crysdiff.structrepdiff import neighbours as neighbours_module
from pyg_crysdiff.structrepdiff.composition import fit_counts
from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.neighbours import neighbour_pairs
from pyg_crysdiff.structrepdiff.objective import pool
from pyg_crysdiff.structrepdiff.representation import (
    Representation,
    cell_parameters,
    lattice_matrix,
    repair_cell,
    smallest_distances,
)
from tests.conftest import make_crystal

SMALL = {"L": (0, 1, 2), "eta": (1.0, 20.0, 90.0), "centres": (0.0, 1.3, 2.0, 3.7, 5.0),
         "cutoff": 6.0}  # fmt: skip


def tensors(crystal: Crystal, dtype=torch.float64):
    return (
        torch.as_tensor(crystal.frac_coords, dtype=dtype),
        torch.as_tensor(crystal.lattice, dtype=dtype).unsqueeze(0),
        torch.as_tensor(crystal.atomic_numbers),
        torch.tensor([len(crystal)]),
    )


def direct_sum(crystal: Crystal, L, eta, centres, cutoff) -> np.ndarray:
    """The formula as it reads: one neighbour, one Gaussian, one monomial after the other."""
    positions = crystal.frac_coords @ crystal.lattice
    span = range(-6, 7)
    images = np.array([(a, b, c) for a in span for b in span for c in span]) @ crystal.lattice
    rows = []
    for i in range(len(crystal)):
        v = (positions[:, None] + images - positions[i]).reshape(-1, 3)
        z = np.repeat(crystal.atomic_numbers, len(images))
        r = np.linalg.norm(v, axis=1)
        near = (r < cutoff) & (r > 1e-9)
        v, z, r = v[near], z[near], r[near]
        row = []
        for degree in L:
            for e in eta:
                for centre in centres:
                    radial = np.exp(-e * (r - centre) ** 2) * (np.cos(np.pi * r / cutoff) + 1) / 2
                    total = 0.0
                    for x in range(degree + 1):
                        for y in range(degree - x + 1):
                            w = degree - x - y
                            many = math.factorial(degree) / (
                                math.factorial(x) * math.factorial(y) * math.factorial(w)
                            )
                            angular = v[:, 0] ** x * v[:, 1] ** y * v[:, 2] ** w / cutoff**degree
                            total += many * (z * angular * radial).sum() ** 2
                    row.append(total)
        rows.append(row)
    return np.array(rows)


def test_ead_is_the_direct_sum(rng):
    crystal = make_crystal(rng, 4)
    found = EmbeddedAtomDensity(**SMALL)(*tensors(crystal)).numpy()
    wanted = direct_sum(crystal, **SMALL)
    # Relative to the largest value of an (L, eta) block: a far tail holds nothing to compare.
    blocks = np.abs(wanted).reshape(4, -1, len(SMALL["centres"])).max((0, 2))
    scale = np.repeat(blocks, len(SMALL["centres"]))
    assert np.abs((found - wanted) / scale).max() < 1e-6
    single = EmbeddedAtomDensity(**SMALL)(*tensors(crystal, torch.float32)).double().numpy()
    assert np.abs((single - wanted) / scale).max() < 1e-5


def test_ead_gradients_are_finite_differences(rng):
    frac, lattice, numbers, sizes = tensors(make_crystal(rng, 3, elements=(1, 6)))
    descriptor = EmbeddedAtomDensity(L=(0, 1, 2), eta=(2.0,), centres=(1.5, 2.5), cutoff=4.0)
    assert torch.autograd.gradcheck(
        lambda f, cell: descriptor(f, cell, numbers, sizes),
        (frac.requires_grad_(), lattice.requires_grad_()),
        eps=1e-6, atol=1e-5, rtol=1e-5,
    )  # fmt: skip


def test_ead_symmetries(rng):
    crystal = make_crystal(rng, 4)
    descriptor = EmbeddedAtomDensity(**SMALL)
    frac, lattice, numbers, sizes = tensors(crystal)
    first = descriptor(frac, lattice, numbers, sizes)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    shear = torch.tensor([[1.0, 0, 0], [2, 1, 0], [0, -1, 1]], dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    variants = {
        "rotation and reflection": (frac, lattice @ turn, numbers, sizes),
        "translation": (frac + 0.37, lattice, numbers, sizes),
        "images": (frac + torch.randint(-3, 4, frac.shape), lattice, numbers, sizes),
        "cell": (frac @ torch.linalg.inv(shear), shear @ lattice, numbers, sizes),
    }
    for name, arguments in variants.items():
        torch.testing.assert_close(descriptor(*arguments), first, rtol=1e-9, atol=1e-6, msg=name)
    moved = descriptor(frac[order], lattice, numbers[order], sizes)
    torch.testing.assert_close(moved, first[order], rtol=1e-9, atol=1e-6)


def test_the_pooled_vector_is_that_of_a_supercell(rng):
    crystal = make_crystal(rng, 3)
    descriptor = EmbeddedAtomDensity(**SMALL)
    frac, lattice, numbers, sizes = tensors(crystal)
    double = torch.cat([frac, frac + torch.tensor([1.0, 0, 0])]) / torch.tensor([2.0, 1, 1])
    big = lattice * torch.tensor([[2.0], [1], [1]], dtype=torch.float64)
    one = pool(descriptor(frac, lattice, numbers, sizes), sizes)
    two = pool(descriptor(double.double(), big, numbers.repeat(2), 2 * sizes), 2 * sizes)
    torch.testing.assert_close(two, one, rtol=1e-7, atol=1e-5)


def test_ead_of_a_batch_and_of_blocks_is_that_of_single_crystals(rng, monkeypatch):
    crystals = [make_crystal(rng, n) for n in (1, 4, 2)]
    descriptor = EmbeddedAtomDensity(**SMALL)
    batch = Batch.from_data_list([c.to_data() for c in crystals])
    batch.frac_coords, batch.lattice = batch.frac_coords.double(), batch.lattice.double()
    whole = descriptor.forward_batch(batch)
    single = torch.cat(
        [descriptor(*tensors(Crystal(c.lattice, c.frac_coords % 1.0, c.atomic_numbers)))
         for c in crystals]
    )  # fmt: skip
    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-2)
    monkeypatch.setattr(ead_module, "_PAIRS_AT_ONCE", 50)
    monkeypatch.setattr(neighbours_module, "_CHUNK", 40)
    torch.testing.assert_close(descriptor.forward_batch(batch), whole, rtol=1e-9, atol=1e-6)


def test_a_short_reach_gives_the_same_entries(rng):
    whole = EmbeddedAtomDensity(L=(0, 1), cutoff=9.0, centres=tuple(np.arange(0.5, 8, 0.5)))
    near, columns = whole.within(6.0, largest_eta=20.0)
    assert 0 < near.dim < whole.dim
    assert len(columns) == near.dim
    arguments = tensors(make_crystal(rng, 5))
    full, part = whole(*arguments)[:, columns], near(*arguments)
    assert ((full - part).abs() / full.abs().amax(0)).max() < 2e-3


@pytest.mark.parametrize("bad", [{"eta": ()}, {"cutoff": 0.0}, {"L": (-1,)}, {"eta": (0.0,)}])
def test_ead_refuses_bad_settings(bad):
    with pytest.raises(ValueError, match="EAD needs"):
        EmbeddedAtomDensity(**bad)


def test_neighbours_are_ase_s(rng):
    for count in (1, 3):
        crystal = make_crystal(rng, count)
        crystal.lattice[2] += 1.7 * crystal.lattice[0]  # a skewed cell
        frac, lattice, _, sizes = tensors(crystal)
        pairs = neighbour_pairs(frac + 2.0, lattice, sizes, 5.0)
        positions = ((frac + 2.0) @ lattice[0]).t()
        distance = pairs.vectors(positions, pairs.translation(lattice)).norm(dim=0)
        i, j, d = neighbor_list("ijd", crystal.to_ase(), 5.0)
        assert 2 * len(distance) == len(d)
        np.testing.assert_allclose(np.repeat(np.sort(distance), 2), np.sort(d), atol=1e-9)
        counts = torch.bincount(pairs.i, minlength=count) + torch.bincount(pairs.j, minlength=count)
        assert counts.tolist() == np.bincount(i, minlength=count).tolist()
        del j
    flat = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]])
    with pytest.raises(ValueError, match="without volume"):
        neighbour_pairs(torch.zeros(1, 3), flat, torch.tensor([1]), 2.0)


EAD = {"L": [0], "eta": [1.0, 8.0], "centres": [1.0, 4.0, 0.5], "cutoff": 6.0}


@pytest.mark.parametrize("root", [True, False])
def test_representation_and_its_parts(rng, root):
    crystals = [make_crystal(rng, n) for n in (2, 5, 1)]
    batch = Batch.from_data_list([c.to_data() for c in crystals])
    representation = Representation((6, 8, 22, 38), EAD, root)
    values = representation(batch)
    assert values.shape == (3, representation.dim)
    parts = representation.parts(values)
    pooled = pool(representation.ead.forward_batch(batch), batch.num_atoms)
    torch.testing.assert_close(parts.pooled, pooled, rtol=1e-4, atol=1e-4)
    frames = representation.frames(parts, [1, 2, 3, 4, 5])
    for k, (crystal, frame) in enumerate(zip(crystals, frames, strict=True)):
        assert frame.atomic_numbers.tolist() == sorted(crystal.atomic_numbers.tolist())
        lengths, angles = crystal.parameters()
        again = Crystal(frame.lattice, crystal.frac_coords, crystal.atomic_numbers)
        np.testing.assert_allclose(again.parameters()[0], lengths, rtol=1e-5)
        np.testing.assert_allclose(again.parameters()[1], angles, rtol=1e-5)
        distance = neighbor_list("d", crystal.to_ase(), 15.0).min()
        assert float(parts.min_distance[k]) == pytest.approx(distance, rel=1e-4)
    with pytest.raises(ValueError, match=r"\[38\]"):
        Representation((6, 8, 22), EAD, root)(
            Batch.from_data_list(
                [Crystal(np.eye(3) * 4, np.zeros((1, 3)), np.array([38])).to_data()]
            )
        )


def test_smallest_distance_of_one_atom_is_its_nearest_image():
    lattice = torch.tensor([[[4.0, 0, 0], [3.5, 1.5, 0], [0, 0, 6]]])
    found = smallest_distances(torch.zeros(1, 3), lattice, torch.tensor([1]))
    assert float(found) == pytest.approx(math.hypot(0.5, 1.5))


@pytest.mark.parametrize(
    ("composition", "n", "counts"),
    [
        ([0.2, 0.2, 0.6], 5.0, [1, 1, 3]),
        ([0.25, 0.16, 0.61], 4.8, [1, 1, 3]),
        ([0.5, 0.5, -0.1], 3.7, [2, 2, 0]),
        ([0.0, 0.0, 0.0], 3.0, [1, 1, 1]),
        ([math.nan, 1.0, 0.0], 40.0, [0, 8, 0]),
    ],
)
def test_integer_fit_of_the_composition(composition, n, counts):
    assert fit_counts(np.array(composition), n, [2, 3, 4, 5, 8]).tolist() == counts


def test_cells_are_repaired_only_where_they_have_no_volume():
    good = np.array([3.0, 4.0, 5.0, 80.0, 95.0, 110.0])
    np.testing.assert_array_equal(repair_cell(good), good)
    for bad in ([3, 4, 5, 30, 60, 100], [0.1, 4, -5, 150, 150, 150], [3, 4, math.nan, 1, 90, 179]):
        matrix = lattice_matrix(repair_cell(np.array(bad, dtype=float)))
        assert abs(np.linalg.det(matrix)) > 0.5
    torch.testing.assert_close(
        cell_parameters(torch.tensor(lattice_matrix(good)).unsqueeze(0)),
        torch.tensor(good).unsqueeze(0),
    )
