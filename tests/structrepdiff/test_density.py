"""One atom of an orbit stands for all of it, and the C kernel has the plain form's densities."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyg_crysdiff.structrepdiff import density
from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.neighbours import neighbour_pairs
from pyg_crysdiff.structrepdiff.objective import Objective, amplitude, pool
from pyg_crysdiff.structrepdiff.orbits import Orbits
from pyg_crysdiff.structrepdiff.search import Search
from pyg_crysdiff.structrepdiff.starts import Frame
from pyg_crysdiff.structrepdiff.walkers import Variables, Walkers
from tests.structrepdiff.test_orbits import FRAMES, starts
from tests.structrepdiff.test_search import EAD

needs_kernel = pytest.mark.skipif(density.load_library() is None, reason="no C compiler")
GRADED = EmbeddedAtomDensity(eta=(1.0, 4.0, 16.0, 64.0), centres=np.arange(0, 9, 0.2), cutoff=9.0)


@pytest.fixture(params=[pytest.param("1", marks=needs_kernel), "0"], ids=["kernel", "plain"])
def native(request, monkeypatch):
    monkeypatch.setenv("CRYSDIFF_NATIVE", request.param)


def random_walkers(rng, dtype=torch.float32, orbits=True):
    """Walkers of three crystals, symmetric and free ones side by side, not at their targets."""
    parts = []
    for c, (name, f) in enumerate(FRAMES.items()):
        places, kept = zip(*starts(name, 6, rng), strict=True)
        kept = [o if orbits and k % 3 else None for k, o in enumerate(kept)]
        like = torch.zeros((), dtype=dtype)
        parts.append(Walkers.at(f, c, np.stack(places), like, kept))
    return Walkers.joined(parts)


def taken_up(walkers, distance="overlap", all_atoms=False):
    """An objective that has taken up walkers, with one atom of each orbit or with all atoms."""
    objective = Objective(EAD, 8.0, distance=distance)
    objective.start(replace(walkers, orbits=()) if all_atoms else walkers)
    assert (objective._pairs.centres is None) == all_atoms
    return objective


@pytest.mark.parametrize(("distance", "bounds"), [("overlap", 0), ("entry", 0), ("overlap", 1.5)])
@pytest.mark.usefixtures("native")
def test_one_atom_of_each_orbit_gives_the_loss_of_all(rng, distance, bounds):
    walkers = random_walkers(rng)
    walkers = replace(walkers, closest=walkers.closest * 1.4)  # so that some atoms overlap
    target = torch.rand(3, 2 * EAD.dim, generator=torch.Generator().manual_seed(0)) * 30
    one, every = (taken_up(walkers, distance, whole) for whole in (False, True))
    assert len(one._pairs.centres) < 0.7 * len(walkers.positions)
    found = [o.loss(walkers, o.target(target), bounds) for o in (one, every)]
    torch.testing.assert_close(*found, rtol=2e-4, atol=1e-5)


@pytest.mark.usefixtures("native")
def test_one_atom_of_each_orbit_has_the_slopes_of_all_along_free_parameters(rng):
    """Of sums over atoms: a maximum of equal atoms has a slope that rounding decides."""
    walkers = random_walkers(rng)
    walkers = replace(walkers, closest=walkers.closest * 1.4)
    one, every = (taken_up(walkers, all_atoms=whole) for whole in (False, True))
    slopes = []
    for objective, times in ((one, one._centres.repeats), (every, 1)):
        variables = Variables(walkers, symmetric=True)
        moved = walkers.moved(variables.positions)
        density_of_all = density.neighbour_density(
            EAD, moved.positions, moved.numbers.float(), objective._pairs, objective._translation
        )
        values = amplitude(EAD.from_density(density_of_all)).sum(1)
        overlap = objective._overlap(moved).sum()
        assert overlap > 0
        terms = ((values * times).sum(), overlap)
        slopes += [torch.autograd.grad(t, variables.values, retain_graph=True)[0] for t in terms]
    for here, there in zip(slopes[:2], slopes[2:], strict=True):
        assert float((here - there).abs().max() / there.abs().max()) < 1e-3


def test_centres_are_one_atom_of_each_orbit(rng):
    walkers = random_walkers(rng)
    centres = walkers.centres(1e-3)
    assert centres.sizes.sum() == len(centres.atoms)
    first = 0
    for size, own, orbits in zip(walkers.sizes, centres.sizes, walkers.orbits, strict=True):
        part = slice(first, first + int(own))
        assert centres.repeats[part].sum() == size
        assert int(own) == (int(size) if orbits is None else len(orbits.members))
        first += int(own)
    owner = walkers.owner[centres.atoms]
    assert torch.equal(torch.bincount(owner), centres.sizes)
    assert random_walkers(rng, orbits=False).centres(1e-3) is None


def cubic_starts():
    """Starts whose groups turn the last axis into another one."""
    found = starts("cubic", 60, np.random.default_rng(0))
    return [(x, o) for x, o in found if o.group.rotations[:, 2, :2].any()]


@pytest.mark.parametrize(("strain", "fewer"), [(0.0, True), (1e-5, True), (0.01, False)])
def test_a_strained_cell_is_computed_atom_by_atom(strain, fewer):
    cube, (x, orbits) = FRAMES["cubic"], cubic_starts()[0]
    lattice = cube.lattice * [[1.0], [1.0], [1 + strain]]
    bent = Frame(lattice, cube.atomic_numbers, cube.min_distance)
    orbits = Orbits.of(bent, x, orbits.group)
    assert orbits.strain == pytest.approx(strain, rel=0.02, abs=1e-9)
    walkers = Walkers.at(bent, 0, x[None], torch.zeros(()), [orbits])
    for reach, eta in ((8.0, 1.0), (8.0, None)):
        objective = Objective(GRADED, reach, eta)
        objective.start(walkers)
        assert (objective._pairs.centres is not None) == fewer


def test_the_strain_that_is_allowed_costs_a_fraction_of_the_tolerance():
    objective = Objective(GRADED, 7.0)
    cube, shape = FRAMES["cubic"], np.diag([1.0, 1.0, 1 + 0.99 * objective._strain])
    bent = Frame(cube.lattice @ shape, cube.atomic_numbers, cube.min_distance)
    cell, sizes = torch.as_tensor(bent.lattice)[None], torch.tensor([len(cube.atomic_numbers)])
    found = []
    for x, orbits in cubic_starts():
        values = GRADED(torch.as_tensor(x), cell, torch.as_tensor(bent.atomic_numbers), sizes)
        target = objective.target(pool(values, sizes))
        walkers = Walkers.at(bent, 0, x[None], cell, [Orbits.of(bent, x, orbits.group)])
        losses = []
        for part in (walkers, replace(walkers, orbits=())):
            objective.start(part)
            losses.append(float(objective.loss(part, target)))
        found.append(losses[0] - losses[1])
    assert 1e-5 < max(found) < 0.25 * Search().tolerance


def test_a_full_list_has_both_directions_of_a_half_list(rng):
    frac = torch.as_tensor(rng.random((9, 3)))
    lattice = torch.as_tensor(4 * np.eye(3) + rng.normal(0, 0.6, (2, 3, 3)))
    sizes = torch.tensor([4, 5])
    for own in (True, False):
        half = neighbour_pairs(frac, lattice, sizes, 7.0, own_images=own)
        full = neighbour_pairs(frac, lattice, sizes, 7.0, own_images=own, centres=torch.arange(9))
        there = [(*p, *n) for *p, n in zip(half.i, half.j, half.shift.tolist(), strict=True)]
        both = {(int(i), int(j), *map(int, n)) for i, j, *n in there}
        both |= {(int(j), int(i), *(-int(k) for k in n)) for i, j, *n in there}
        rows = zip(full.i, full.j, full.shift.tolist(), strict=True)
        listed = [(int(i), int(j), *map(int, n)) for i, j, n in rows]
        assert len(listed) == len(set(listed)) == 2 * len(half.i)
        assert set(listed) == both
    chosen = torch.tensor([1, 6, 7])
    some = neighbour_pairs(frac, lattice, sizes, 7.0, centres=chosen)
    assert torch.equal(chosen[some.place], some.i)
    whole = neighbour_pairs(frac, lattice, sizes, 7.0, centres=torch.arange(9))
    assert torch.equal(torch.bincount(some.i, minlength=9)[chosen], torch.bincount(whole.i)[chosen])


@needs_kernel
@pytest.mark.parametrize("centres", [None, [0, 3, 4, 8]])
@pytest.mark.parametrize(("reach", "eta"), [(9.0, None), (6.0, None), (7.0, 1.0)])
def test_the_kernel_has_density_and_gradient_of_the_plain_form(rng, centres, reach, eta):
    ead, _ = GRADED.within(reach, eta)
    frac = torch.as_tensor(rng.random((9, 3)), dtype=torch.float32)
    lattice = torch.as_tensor(4 * np.eye(3) + rng.normal(0, 0.6, (2, 3, 3)), dtype=torch.float32)
    sizes = torch.tensor([4, 5])
    numbers = torch.as_tensor(rng.integers(1, 80, 9)).float()
    centres = None if centres is None else torch.tensor(centres)
    pairs = neighbour_pairs(frac, lattice, sizes, reach + 0.5, centres=centres)
    start = torch.einsum("nk,nkx->nx", frac, lattice[[0] * 4 + [1] * 5])
    found = []
    for dtype in (torch.float32, torch.float64):  # the plain form in double precision
        x = start.to(dtype).requires_grad_()
        translation = pairs.translation(lattice).to(dtype)
        out = density.neighbour_density(ead, x, numbers.to(dtype), pairs, translation)
        values = ead.from_density(out)
        weights = torch.linspace(-1, 1, values.numel(), dtype=dtype).view_as(values)
        (slope,) = torch.autograd.grad((amplitude(values) * weights).sum(), x)
        found.append((out.detach(), values.detach(), slope))
    for single, double in zip(*found, strict=True):
        error = (single.double() - double).abs().max() / double.abs().max()
        assert float(error) < 2e-4
    assert out.shape == (9 if centres is None else 4, 1, ead.sums.num_nodes)


@needs_kernel
def test_the_kernel_is_used_in_single_precision_on_a_cpu_alone(monkeypatch):
    used = []
    fused = density._Density.apply
    monkeypatch.setattr(density._Density, "apply", lambda *a: used.append(1) or fused(*a))
    x = torch.rand(3, 3)
    lattice, sizes = 4 * torch.eye(3)[None], torch.tensor([3])
    pairs = neighbour_pairs(x, lattice, sizes, 5.0)
    angular = EmbeddedAtomDensity(L=(0, 1), centres=(1.0, 2.0), cutoff=5.0)
    for ead, dtype, times in ((EAD, torch.float32, 1), (EAD, torch.float64, 0),
                              (angular, torch.float32, 0)):  # fmt: skip
        used.clear()
        translation = pairs.translation(lattice).to(dtype)
        density.neighbour_density(ead, x.to(dtype), torch.ones(3, dtype=dtype), pairs, translation)
        assert len(used) == times
    monkeypatch.setenv("CRYSDIFF_NATIVE", "0")
    density.neighbour_density(EAD, x, torch.ones(3), pairs, pairs.translation(lattice))
    assert not used


@needs_kernel
def test_a_kernel_that_is_wrong_is_found_out(monkeypatch, caplog):
    class Wrong:
        def __init__(self, library):
            self.add_density = library.add_density

        @staticmethod
        def add_gradient(listed, slope, gradient):
            ctypes.memset(gradient, 0, 12)

    right = density.load_library()
    monkeypatch.setattr(density, "load_library", lambda: Wrong(right))
    assert not density.kernel_agrees.__wrapped__()
    assert "is not used" in caplog.text


@pytest.mark.usefixtures("native")
def test_positions_that_are_no_numbers_do_no_harm():
    f = FRAMES["cubic"]
    x = np.random.default_rng(0).random((2, 16, 3))
    walkers = Walkers.at(f, 0, x, torch.zeros(()))
    objective = Objective(EAD, 7.0)
    objective.start(walkers)
    broken = walkers.positions.clone()
    broken[3] = torch.nan
    target = objective.target(torch.ones(1, 2 * EAD.dim))
    losses = objective.loss(walkers.moved(broken), target)
    assert torch.isfinite(losses[1])
