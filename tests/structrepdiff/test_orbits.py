"""Symmetry of trial structures: free parameters, moves and descents that keep it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pyg_crysdiff.structrepdiff import reconstruction
from pyg_crysdiff.structrepdiff.moves import exchange_orbits, hop
from pyg_crysdiff.structrepdiff.orbits import Orbits
from pyg_crysdiff.structrepdiff.reconstruction import Reconstructor
from pyg_crysdiff.structrepdiff.search import Round
from pyg_crysdiff.structrepdiff.starts import Frame, make_starts
from pyg_crysdiff.structrepdiff.symmetry import compatible_groups
from pyg_crysdiff.structrepdiff.walkers import Variables, Walkers
from tests.structrepdiff.test_search import CUBIC, EAD, QUICK, descriptor, frame

FRAMES = {
    "cubic": Frame(np.eye(3) * 6.0, np.array([8] * 8 + [22] * 4 + [38] * 4), 1.5),
    "hexagonal": Frame(
        np.array([[5.0, 0, 0], [-2.5, 5.0 * np.sqrt(0.75), 0], [0, 0, 7.0]]),
        np.array([8] * 6 + [22] * 3 + [38] * 3),
        1.5,
    ),
    "oblique": Frame(
        np.array([[5.0, 0, 0], [-1.0, 6.0, 0], [0, 0, 7.0]]), np.array([8] * 8 + [22] * 4), 1.5
    ),
}


def starts(name, count, rng):
    """Symmetric starts in a cell, with their orbits."""
    for start in make_starts(FRAMES[name], count, rng, ("symmetric",)):
        if start.group is not None:
            orbits = Orbits.of(FRAMES[name], start.frac_coords, start.group)
            assert orbits is not None
            yield start.frac_coords, orbits


def violation(name, orbits, x):
    """Largest distance of the image of an atom from the nearest atom of its species, Angstrom."""
    f = FRAMES[name]
    delta = orbits.group.images(x)[:, :, None] - x
    delta -= np.rint(delta)
    distance = np.linalg.norm(delta @ f.lattice, axis=3)
    distance[:, f.atomic_numbers[:, None] != f.atomic_numbers] = np.inf
    return distance.min(2).max()


@pytest.mark.parametrize("name", FRAMES)
def test_free_parameters_are_all_that_keep_the_group(name, rng):
    """Against the null space of d(g i) = d(i) T(g), written out for all operations and atoms."""
    f = FRAMES[name]
    seen = set()
    for x, orbits in starts(name, 20, rng):
        turns = np.linalg.inv(f.lattice) @ orbits.group.rotations @ f.lattice
        images = orbits.group.images(x)
        count, rows = len(x), []
        for turn, moved in zip(turns, images, strict=True):
            delta = moved[:, None] - x
            near = np.linalg.norm((delta - np.rint(delta)) @ f.lattice, axis=2).argmin(1)
            for i, j in enumerate(near):
                block = np.zeros((3, count, 3))
                block[:, j] += np.eye(3)
                block[:, i] -= turn.T
                rows.append(block.reshape(3, -1))
        constraints = np.concatenate(rows)
        rank = np.linalg.matrix_rank(constraints, tol=1e-3)
        assert orbits.freedom == 3 * count - rank
        basis = orbits.basis.reshape(3 * count, -1)
        np.testing.assert_allclose(constraints @ basis, 0, atol=1e-5)
        if orbits.freedom:
            assert np.linalg.matrix_rank(basis) == orbits.freedom
        lengths = np.linalg.norm(orbits.basis, axis=1)
        np.testing.assert_allclose(lengths[lengths > 1e-6], 1.0, atol=1e-5)
        seen.add(orbits.freedom)
    assert len(seen) > 3


def test_parameters_of_a_known_structure():
    """SrTiO3 has none in Pm-3m; in P4mm the heights of Sr, Ti, O and the pair of O are free."""
    for number, freedom, count in ((221, 0, 3), (99, 4, 4)):
        found = [
            orbits
            for group in compatible_groups(CUBIC.lattice)
            if group.number == number
            and (orbits := Orbits.of(frame(CUBIC), CUBIC.frac_coords, group)) is not None
        ]
        assert {o.freedom for o in found} == {freedom}
        assert {len(set(o.label.tolist())) for o in found} == {count}
    moved = CUBIC.frac_coords + np.array([[0.03, 0, 0], *[[0, 0, 0]] * 4])
    cubic = [g for g in compatible_groups(CUBIC.lattice) if g.number == 221]
    assert all(Orbits.of(frame(CUBIC), moved, g) is None for g in cubic)


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("kind", ["jump", "swap", "relocate"])
def test_moves_keep_the_group(name, kind, rng):
    changed = 0
    for x, orbits in starts(name, 12, rng):
        moved = hop(x, FRAMES[name], rng, (kind,), 0.5, orbits)
        assert violation(name, orbits, moved) < 1e-3
        changed += not np.allclose(moved, x)
        if kind == "jump":
            length = np.linalg.norm((moved - x) @ FRAMES[name].lattice, axis=1)
            assert length.max() <= 0.5 * np.sqrt(3) + 1e-6
    assert changed > 3


def test_a_swap_of_orbits_keeps_the_sites(rng):
    seen = 0
    for x, orbits in starts("cubic", 12, rng):
        sizes = [int((orbits.label == k).sum()) for k in np.unique(orbits.label)]
        numbers = [int(FRAMES["cubic"].atomic_numbers[k]) for k in np.unique(orbits.label)]
        if len({n for s, n in zip(sizes, numbers, strict=True) if s == 4}) > 1:
            moved = hop(x, FRAMES["cubic"], rng, ("swap",), 0.5, orbits)
            assert {tuple(r) for r in moved.tolist()} == {tuple(r) for r in x.tolist()}
            seen += 1
    assert seen > 1


def test_orbits_of_one_size_and_two_species_change_places(rng):
    group = next(g for g in compatible_groups(CUBIC.lattice) if g.number == 221)
    orbits = Orbits.of(frame(CUBIC), CUBIC.frac_coords, group)
    for _ in range(4):  # Ti and Sr stand alone, the three O have no partner
        assert exchange_orbits(CUBIC.atomic_numbers, orbits, rng).tolist() == [0, 1, 2, 4, 3]
    alike = np.array([8, 8, 8, 22, 22])
    assert exchange_orbits(alike, orbits, rng) is None


def walkers(name, places, orbits):
    like = torch.zeros(1, dtype=torch.float64)
    return Walkers.at(FRAMES[name], 0, np.stack(places), like, orbits)


def test_variables_keep_the_symmetry_and_leave_the_others_free(rng):
    (x, first), (y, second) = list(starts("cubic", 8, rng))[:2]
    free = rng.random(x.shape)
    both = walkers("cubic", [x, free, y], [first, None, second])
    variables = Variables(both, symmetric=True)
    torch.testing.assert_close(variables.positions.detach(), both.positions)
    with torch.no_grad():
        variables.values += 0.2 * torch.randn(variables.values.shape, dtype=torch.float64)
    out = both.moved(variables.positions.detach()).frac_coords.view(3, -1, 3).numpy()
    assert violation("cubic", first, out[0]) < 1e-3
    assert violation("cubic", second, out[2]) < 1e-3
    shift = variables.values[1, : 3 * len(x)].detach().view(-1, 3).numpy()
    np.testing.assert_allclose((out[1] - free) @ FRAMES["cubic"].lattice, shift, atol=1e-9)
    assert Variables(both, symmetric=False).values.shape == both.positions.shape


def test_a_selection_of_walkers_keeps_their_orbits(rng):
    (x, first), (y, second) = list(starts("cubic", 8, rng))[:2]
    both = walkers("cubic", [x, y], [first, second])
    plain = walkers("cubic", [x], ())
    joined = Walkers.joined([plain, both])
    assert joined.orbits == (None, first, second)
    assert joined.select(torch.tensor([2, 0])).orbits == (second, None)
    assert Walkers.joined([plain, plain]).orbits == ()


def test_a_walker_without_symmetry_ranks_lower_by_its_penalty():
    group = next(g for g in compatible_groups(CUBIC.lattice) if g.number == 99)
    orbits = Orbits.of(frame(CUBIC), CUBIC.frac_coords, group)
    wanted = descriptor(CUBIC)
    both = Walkers.at(frame(CUBIC), 0, np.stack([CUBIC.frac_coords] * 2), wanted, [None, orbits])
    losses = torch.tensor([1.0, 1.3])
    for penalty, best in ((0.0, 0), (0.2, 0), (0.5, 1)):
        owner = Reconstructor(EAD, replace(QUICK, free_penalty=penalty))
        run = reconstruction._Run(owner, [frame(CUBIC)], wanted, [0])
        assert run._ranked(both, losses, 1).tolist() == [best]
        plain = replace(both, orbits=())
        assert run._ranked(plain, losses, 2).tolist() == [0, 1]


def test_fewer_free_parameters_rank_higher_by_their_penalty():
    """SrTiO3 without a symmetry, in P4mm (z of four atoms and of oxygen twice) and in Pm-3m."""
    chosen = [
        next(g for g in compatible_groups(CUBIC.lattice) if g.number == number)
        for number in (99, 221)
    ]
    orbits = [None, *(Orbits.of(frame(CUBIC), CUBIC.frac_coords, group) for group in chosen)]
    wanted = descriptor(CUBIC)
    three = Walkers.at(frame(CUBIC), 0, np.stack([CUBIC.frac_coords] * 3), wanted, orbits)
    assert three.freedom.tolist() == pytest.approx([1, 4 / 15, 0])
    assert replace(three, orbits=()).freedom.tolist() == [1, 1, 1]
    losses = torch.tensor([1.0, 1.3, 1.5])
    for penalty, order in ((0.0, [0, 1, 2]), (0.47, [1, 0, 2]), (1.0, [2, 1, 0])):
        owner = Reconstructor(EAD, replace(QUICK, freedom_penalty=penalty))
        run = reconstruction._Run(owner, [frame(CUBIC)], wanted, [0])
        assert run._ranked(three, losses, 3).tolist() == order


def test_descents_keep_the_symmetry_only_where_they_are_asked_to(rng):
    """From a polar start of SrTiO3 towards another target."""
    target = frame(CUBIC)
    group = next(g for g in compatible_groups(CUBIC.lattice) if g.number == 99)
    orbits = Orbits.of(target, CUBIC.frac_coords, group)
    wanted = descriptor(
        replace(CUBIC, frac_coords=CUBIC.frac_coords + 0.05 * rng.standard_normal((5, 3)))
    )
    for symmetric in (True, False):
        settings = Round(1, 20, 0.1, 8.0, symmetric=symmetric)
        owner = Reconstructor(EAD, replace(QUICK, rounds=(settings,)))
        run = reconstruction._Run(owner, [target], wanted, [0])
        start = Walkers.at(target, 0, CUBIC.frac_coords[None], wanted, [orbits])
        moved, _ = run._descend(start, None, settings)
        assert not torch.allclose(moved.positions, start.positions, atol=1e-3)
        kept = Orbits.of(target, moved.frac_coords.double().numpy(), group)
        assert (kept is not None) == symmetric
        assert moved.orbits == ((orbits,) if symmetric else ())
        still, _ = run._descend(start, None, replace(settings, iterations=0))
        assert still.orbits == (orbits,)
