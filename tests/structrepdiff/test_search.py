"""Symmetric starts, moves, reconstruction."""

from dataclasses import replace

import numpy as np
import pytest
import spglib
import torch

from pyg_crysdiff.configuration import config_folder, load_table
from pyg_crysdiff.data.crystal import Crystal
from pyg_crysdiff.evaluation.matching import rms_distances
from pyg_crysdiff.structrepdiff import reconstruction
from pyg_crysdiff.structrepdiff.ead import EmbeddedAtomDensity
from pyg_crysdiff.structrepdiff.moves import hop
from pyg_crysdiff.structrepdiff.objective import Objective, pool
from pyg_crysdiff.structrepdiff.orbits import Orbits
from pyg_crysdiff.structrepdiff.reconstruction import Reconstructor
from pyg_crysdiff.structrepdiff.search import SEARCHES, Round, Search
from pyg_crysdiff.structrepdiff.starts import Frame, Start, make_starts, symmetric
from pyg_crysdiff.structrepdiff.superlattice import finer_cells
from pyg_crysdiff.structrepdiff.symmetry import (
    compatible_groups,
    group_frequencies,
    group_turns,
    group_weights,
)
from pyg_crysdiff.structrepdiff.walkers import Walkers

ROCK_SALT = Crystal(
    np.array([[0.0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]),
    np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
    np.array([11, 17]),
)
CUBIC = Crystal(
    np.eye(3) * 3.9,
    np.array([[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0.5, 0.5], [0, 0, 0]]),
    np.array([8, 8, 8, 22, 38]),
)
EAD = EmbeddedAtomDensity(eta=(1.0, 8.0, 30.0), centres=np.arange(0.75, 9, 0.25), cutoff=12.0)
QUICK = Search(
    waves=3, fresh=(16, 8), hops=8,
    rounds=(Round(16, 15, 0.2, 8.0, 1.0), Round(6, 40, 0.15, 8.0, 1.0), Round(4, 40, 0.05, 7.0)),
    polish=Round(2, 30, 0.02, 8.0), population=4,
)  # fmt: skip


def frame(crystal: Crystal, distance: float = 1.9) -> Frame:
    return Frame(crystal.lattice, crystal.atomic_numbers, distance)


def descriptor(crystal: Crystal) -> torch.Tensor:
    sizes = torch.tensor([len(crystal)])
    values = EAD(
        torch.tensor(crystal.frac_coords), torch.tensor(crystal.lattice).unsqueeze(0),
        torch.tensor(crystal.atomic_numbers), sizes,
    )  # fmt: skip
    return pool(values, sizes).float()


def test_groups_of_a_cell_keep_its_metric_and_hold_its_own():
    for crystal, own, foreign in ((ROCK_SALT, 225, 221), (CUBIC, 221, 225)):
        groups = compatible_groups(crystal.lattice)
        numbers = {g.number for g in groups}
        assert own in numbers
        assert foreign not in numbers
        gram = crystal.lattice @ crystal.lattice.T
        for group in groups:
            turned = group.rotations @ gram @ group.rotations.transpose(0, 2, 1)
            np.testing.assert_allclose(turned, np.broadcast_to(gram, turned.shape), atol=1e-6)
            assert len(np.unique(group.rotations.reshape(-1, 9), axis=0)) == len(group.rotations)
    skewed = np.array([[3.0, 0, 0], [0.7, 4.1, 0], [1.1, 0.9, 5.3]])
    assert {g.number for g in compatible_groups(skewed)} == {2}


def test_weights_follow_frequencies_and_share_settings():
    groups = compatible_groups(CUBIC.lattice)
    counts = group_frequencies([CUBIC, CUBIC, ROCK_SALT])
    assert counts == {221: 2, 225: 1}
    weights = group_weights(groups, {62: 98})
    assert weights.sum() == pytest.approx(1.0)
    numbers = np.array([g.number for g in groups])
    distinct = len(set(numbers.tolist()))
    assert weights[numbers == 62].sum() == pytest.approx(99 / (98 + distinct))


def test_every_group_of_a_cell_has_its_turn_frequent_ones_rather_early(rng):
    allowed = {g.number for g in compatible_groups(CUBIC.lattice)}
    orders = [group_turns(CUBIC.lattice, rng, {62: 10_000, 221: 100}) for _ in range(200)]
    assert all(sorted(order) == sorted(allowed) for order in orders)
    place = {n: np.mean([order.index(n) for order in orders]) for n in allowed}
    assert place[62] < place[221] < np.mean(list(place.values()))
    # By the square root: 100 of 10,000 are not a hundredth of the chance to be the first.
    first = [order[0] for order in orders]
    assert 0.3 < first.count(62) / 200 < 0.7
    one, two = (group_turns(CUBIC.lattice, np.random.default_rng(3), None) for _ in range(2))
    assert one == two != sorted(one)
    assert group_turns(np.array([[3.0, 0, 0], [0.7, 4.1, 0], [1.1, 0.9, 5.3]]), rng, None) == [2]


def test_starts_of_one_group_alone(rng):
    for number in (221, 123):
        found = make_starts(frame(CUBIC), 12, rng, ("symmetric",), only=number)
        assert len(found) == 12
        assert {s.group.number for s in found if s.group is not None} == {number}
    assert all(
        s.kind == "spread" for s in make_starts(frame(CUBIC), 3, rng, ("symmetric",), only=1)
    )


def test_every_second_wave_tries_one_group(monkeypatch):
    asked = []

    def recorded(frame, count, rng, kinds, frequencies=None, only=None):
        asked.append((kinds, count, only))
        return make_starts(frame, count, rng, kinds, frequencies, only)

    monkeypatch.setattr(reconstruction, "make_starts", recorded)
    hopeless = torch.full((1, 2 * EAD.dim), 1e4)
    search = replace(SYMMETRIC, waves=7, focused=5, exchanges=0)
    Reconstructor(EAD, search)([frame(CUBIC)], hopeless, [0])
    assert [only is not None for *_, only in asked] == [False, True] * 3 + [False]
    assert {a[0] for a in asked[::2]} == {search.starts}
    assert {a[:2] for a in asked[1::2]} == {(("symmetric",), 5)}
    turns = {only for *_, only in asked[1::2]}
    assert len(turns) == 3
    assert turns <= {g.number for g in compatible_groups(CUBIC.lattice)}
    with pytest.raises(ValueError, match="must not be negative"):
        replace(search, focused=-1)


def test_symmetric_starts_obey_the_group_they_are_made_with():
    crystal = CUBIC
    for number in (221, 99, 123, 10):
        groups = [g for g in compatible_groups(crystal.lattice) if g.number == number][:1]
        rng = np.random.default_rng(number)
        found = symmetric(frame(crystal), rng, groups, np.ones(1), attempts=200)
        assert found is not None
        assert found.group is groups[0]
        cell = (crystal.lattice, found.frac_coords, crystal.atomic_numbers)
        assert len(spglib.get_symmetry(cell, 1e-3)["rotations"]) >= len(groups[0].rotations)


def test_starts_are_seeded_and_spread_starts_are_apart(rng):
    kinds = ("uniform", "spread", "symmetric")
    one = make_starts(frame(CUBIC), 6, np.random.default_rng(0), kinds)
    two = make_starts(frame(CUBIC), 6, np.random.default_rng(0), kinds)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.frac_coords, b.frac_coords)
        assert a.frac_coords.shape == (5, 3)
    assert [start.kind for start in one[:2]] == ["uniform", "spread"]
    assert one[0].group is one[1].group is None

    def closest(kind):
        places = [s.frac_coords for s in make_starts(frame(CUBIC), 40, rng, (kind,))]
        return np.mean([np.sort(frame(CUBIC).separation(y, y), 1)[:, 1].min() for y in places])

    assert closest("spread") > 1.5 * closest("uniform")
    with pytest.raises(ValueError, match="unknown kinds"):
        make_starts(frame(CUBIC), 1, rng, ("magic",))


def test_hops(rng):
    x = CUBIC.frac_coords
    swapped = hop(x, frame(CUBIC), rng, ("swap",), 1.0)
    assert {tuple(r) for r in swapped.tolist()} == {tuple(r) for r in x.tolist()}
    assert (swapped != x).any()
    species = {tuple(r): z for r, z in zip(x.tolist(), CUBIC.atomic_numbers, strict=True)}
    changed = [species[tuple(r)] for r in swapped.tolist()] != CUBIC.atomic_numbers
    assert 2 <= changed.sum() <= 6
    moved = hop(x, frame(CUBIC), rng, ("relocate",), 1.0)
    assert (moved != x).any(1).sum() == 1
    shift = (hop(x, frame(CUBIC), rng, ("jump",), 0.3) - x) @ CUBIC.lattice
    assert 0.1 < np.abs(shift).max() <= 0.3
    with pytest.raises(ValueError, match="unknown moves"):
        hop(x, frame(CUBIC), rng, ("fly",), 1.0)


@pytest.mark.parametrize("bounds", [0.0, 0.7])
def test_the_loss_is_zero_at_the_truth_and_its_gradient_a_difference(rng, bounds):
    target_of = descriptor(CUBIC).double()
    objective = Objective(EAD, 8.0)
    target = objective.target(target_of)
    truth = torch.tensor(CUBIC.frac_coords @ CUBIC.lattice)
    both = torch.cat([truth, truth + 0.1 * torch.randn(5, 3, dtype=torch.float64)])
    walkers = Walkers(
        both, torch.tensor(CUBIC.atomic_numbers).repeat(2),
        torch.tensor(CUBIC.lattice).expand(2, 3, 3), torch.tensor([5, 5]), torch.tensor([0, 0]),
        torch.tensor([1.9, 1.9], dtype=torch.float64),
    )  # fmt: skip
    objective.start(walkers)
    x = both.clone().requires_grad_()
    losses = objective.loss(walkers.moved(x), target, bounds)
    assert losses[0] < 1e-4
    assert losses[1] > 0.01
    losses[1].backward()
    step = torch.zeros_like(both)
    step[7, 1] = 1e-6
    with torch.no_grad():
        up, down = (
            objective.loss(walkers.moved(both + k * step), target, bounds)[1] for k in (1, -1)
        )
    assert float(x.grad[7, 1]) == pytest.approx(float((up - down) / 2e-6), rel=1e-3, abs=1e-7)
    assert float(x.grad[:5].abs().max()) == 0.0
    far = walkers.moved(both + 3.0)  # far beyond the skin: neighbours are listed anew
    with torch.no_grad():
        moved = objective.loss(far, target, bounds)
    torch.testing.assert_close(moved, losses.detach(), rtol=1e-6, atol=1e-9)


def test_bounds_ask_every_atom_to_lie_within_the_wanted_extremes(rng):
    reach, weight = 8.0, 0.7
    objective = Objective(EAD, reach)
    wanted = objective.target(descriptor(CUBIC).double())[0]
    x = CUBIC.frac_coords + 0.05 * rng.standard_normal((5, 3))
    walkers = Walkers.at(frame(CUBIC, 0.1), 0, x[None], wanted)  # no atoms overlap
    objective.start(walkers)
    plain, bounded = (float(objective.loss(walkers, wanted[None], w)) for w in (0.0, weight))
    short, columns = EAD.within(reach, None)
    values = short(
        torch.tensor(x), torch.tensor(CUBIC.lattice)[None], torch.tensor(CUBIC.atomic_numbers),
        torch.tensor([5]),
    )  # fmt: skip
    entries = np.sqrt(values.numpy() + 1e-6)
    largest, smallest = wanted.numpy()[: len(columns)], wanted.numpy()[len(columns) :]
    outside = sum(
        max(0.0, e[k] - largest[k]) + max(0.0, smallest[k] - e[k])
        for e in entries
        for k in range(len(columns))
    )
    assert outside > 0.1
    assert bounded - plain == pytest.approx(weight * outside / np.abs(wanted.numpy()).sum())


def test_descents_have_bounds_and_walkers_are_ranked_without(monkeypatch):
    asked, plain = set(), Objective.loss

    def recorded(self, walkers, target, bounds=0.0):
        asked.add((torch.is_grad_enabled(), bounds))
        return plain(self, walkers, target, bounds)

    monkeypatch.setattr(Objective, "loss", recorded)
    Reconstructor(EAD, replace(QUICK, bounds=0.3))([frame(CUBIC)], descriptor(CUBIC), [0])
    assert asked == {(True, 0.3), (False, 0.0)}
    with pytest.raises(ValueError, match="must not be negative"):
        replace(QUICK, bounds=-0.1)


def test_atoms_that_overlap_are_pushed_apart():
    objective = Objective(EAD, 8.0)
    target = objective.target(descriptor(CUBIC).double())
    x = torch.tensor(CUBIC.frac_coords @ CUBIC.lattice)
    x[1] = x[0] + torch.tensor([0.5, 0.0, 0.0])
    walkers = Walkers(
        x, torch.tensor(CUBIC.atomic_numbers), torch.tensor(CUBIC.lattice)[None],
        torch.tensor([5]), torch.tensor([0]), torch.tensor([1.9], dtype=torch.float64),
    )  # fmt: skip
    objective.start(walkers)
    free = replace(walkers, closest=torch.tensor([0.1], dtype=torch.float64))
    x.requires_grad_()
    extra = objective.loss(walkers.moved(x), target) - objective.loss(free.moved(x), target)
    assert float(extra.detach()) == pytest.approx(2 / 5 * (1 - 0.5 / (0.95 * 1.9)), rel=1e-6)
    extra.sum().backward()
    assert x.grad[1, 0] < 0 < x.grad[0, 0]


SYMMETRIC = replace(
    QUICK, rounds=tuple(replace(r, symmetric=True) for r in QUICK.rounds), symmetric_hops=0.7
)


@pytest.mark.parametrize("search", [QUICK, SYMMETRIC], ids=["free", "symmetric"])
def test_reconstruction_finds_crystals_alone_and_together(search):
    crystals = [ROCK_SALT, CUBIC]
    frames, pooled = [frame(c) for c in crystals], torch.cat([descriptor(c) for c in crystals])
    ticks = []
    together = Reconstructor(EAD, search)(frames, pooled, [1, 2], ticks.append)
    assert sum(ticks) == 2
    found = [
        Crystal(c.lattice, r.frac_coords, c.atomic_numbers)
        for c, r in zip(crystals, together, strict=True)
    ]
    rms = rms_distances(found, crystals, num_workers=1)
    assert (rms < 0.02).all()
    for k, result in enumerate(together):
        assert result.converged
        assert result.loss < search.tolerance
        alone = Reconstructor(EAD, search)([frames[k]], pooled[[k]], [k + 1])[0]
        assert alone.evaluations == result.evaluations
        if search is QUICK:
            np.testing.assert_allclose(alone.frac_coords, result.frac_coords, atol=1e-3)
        # Symmetric walkers tie to rounding; which of two equivalent ones wins may differ.
        same = Crystal(found[k].lattice, alone.frac_coords, found[k].atomic_numbers)
        assert rms_distances([same], [found[k]], num_workers=1)[0] < 1e-3
        assert alone.loss == pytest.approx(result.loss, abs=1e-4)
        losses = [loss for _, loss, _ in result.trace]
        assert len(losses) == len(result.trace) >= 2


def test_a_failure_says_so_and_evaluations_are_counted():
    wrong = replace(
        QUICK, exchanges=0, waves=2, rounds=(Round(3, 4, 0.1, 6.0),), fresh=(3, 0), hops=2
    )
    target = descriptor(CUBIC) * 7.0
    result = Reconstructor(EAD, wrong)([frame(CUBIC)], target, [0])[0]
    assert not result.converged
    assert result.loss > wrong.tolerance
    # Two waves of 3 and 2 walkers, 4 steps and a last evaluation each; polish 2 x 31.
    assert result.evaluations == (3 + 2) * 5 + 2 * 31


def test_every_preset_is_offered_and_exhaustive_is_thorough_four_times_as_long():
    files = {path.stem for path in (config_folder() / "reconstruction").glob("*.yaml")}
    assert files == set(SEARCHES)
    thorough, exhaustive = (
        load_table(f"reconstruction/{n}.yaml") for n in ("thorough", "exhaustive")
    )
    assert exhaustive == {**thorough, "waves": 4 * thorough["waves"]}


@pytest.mark.parametrize("name", SEARCHES)
def test_presets_are_read_and_bad_keys_refused(name):
    table = load_table(f"reconstruction/{name}.yaml")
    search = Search.from_config(table)
    budget = 0
    for wave in range(search.waves):
        count = search.fresh[min(wave, 1)] + (search.hops if wave else 0)
        budget += 2 * search.exchanges
        for k, settings in enumerate(search.rounds):
            budget += (count if k == 0 else min(settings.keep, count)) * settings.iterations
    # The paper: 6 trials x 7 hops x 300 iterations, the start counted as the first hop.
    assert budget <= 6 * 7 * 300 * {"exhaustive": 4, "dense": 1.5}.get(name, 1)
    if name == "paper":
        assert budget == 6 * 7 * 300
        assert search.starts == ("uniform",)
    with pytest.raises(ValueError, match="bad reconstruction settings"):
        Search.from_config({**table, "speed": 1})
    with pytest.raises(ValueError, match="bad reconstruction settings"):
        Search.from_config({k: v for k, v in table.items() if k != "rounds"})


def test_finer_cells_are_all_lattices_of_an_index_and_repeat_a_crystal():
    cubic = np.eye(3) * 4.0
    # Sublattices of index 2, 3, 4, 6 of a lattice: 7, 13, 35, 91 (sums of divisors of divisors).
    for index, count in ((2, 7), (3, 13), (4, 35), (6, 91)):
        cells = finer_cells(cubic, index, 0.0)
        assert len(cells) == count
        for cell in cells:
            assert abs(np.linalg.det(cell.lattice)) == pytest.approx(64.0 / index)
            translations = cell.shifts @ cubic @ np.linalg.inv(cell.lattice)
            np.testing.assert_allclose(translations, np.rint(translations), atol=1e-6)
            assert len(np.unique(np.round(cell.shifts, 6) % 1.0, axis=0)) == index
    shortest = finer_cells(cubic, 4, 2.5)
    assert 0 < len(shortest) < 35
    assert all(np.linalg.norm(c.lattice, axis=1).min() >= 2.5 for c in shortest)


@pytest.mark.parametrize(("sizes", "operations"), [((2, 2, 2), 48 * 8), ((1, 1, 2), 16 * 2)])
def test_a_supercell_keeps_the_operations_that_keep_it(sizes, operations):
    """Of the 48 of a cube a doubled axis leaves the 16 of a square prism."""
    group = next(g for g in compatible_groups(CUBIC.lattice) if g.number == 221)
    supercell = CUBIC.to_structure() * list(sizes)
    lattice, index = supercell.lattice.matrix, int(np.prod(sizes))
    cell = next(
        c
        for c in finer_cells(lattice, index, 3.0)
        if np.allclose(c.lattice @ c.lattice.T, CUBIC.lattice @ CUBIC.lattice.T)
        and np.allclose(np.abs(c.lattice), CUBIC.lattice, atol=1e-6)
    )
    carried = cell.carried(group, lattice)
    assert len(carried.rotations) == operations
    numbers = np.repeat(CUBIC.atomic_numbers, index)
    x = cell.repeat(CUBIC.frac_coords, lattice)
    orbits = Orbits.of(Frame(lattice, numbers, 1.9), x, carried)
    assert orbits.freedom == 0


def test_repeated_starts_are_supercells(rng):
    supercell = ROCK_SALT.to_structure() * [[1, 1, 0], [0, 2, 1], [0, 0, 1]]
    numbers = np.sort(np.array(supercell.atomic_numbers))
    target = Frame(supercell.lattice.matrix, numbers, 2.0)
    for start in make_starts(target, 12, rng, ("repeated",)):
        assert start.kind == "repeated"
        found = spglib.find_primitive((target.lattice, start.frac_coords, numbers), symprec=1e-3)
        assert len(found[2]) <= len(numbers) // 2
        orbits = Orbits.of(target, start.frac_coords, start.group)
        assert orbits is not None
        assert orbits.freedom <= 3 * len(numbers) // 2
    for start in make_starts(frame(CUBIC), 4, rng, ("repeated",)):  # counts 3, 1, 1
        assert start.kind != "repeated"
        assert start.frac_coords.shape == (5, 3)


def walkers_at(*places):
    """The cubic crystal at several sets of fractional coordinates."""
    count = len(places)
    return Walkers(
        torch.tensor(np.concatenate(places) @ CUBIC.lattice),
        torch.tensor(CUBIC.atomic_numbers).repeat(count),
        torch.tensor(CUBIC.lattice).expand(count, 3, 3),
        torch.full((count,), 5),
        torch.zeros(count, dtype=torch.long),
        torch.full((count,), 1.95, dtype=torch.float64),
    )


def test_the_smallest_distance_is_an_entry_of_the_papers_loss(rng):
    """Against the mean of all entries written out, at the truth and elsewhere."""
    moved = CUBIC.frac_coords + 0.06 * rng.standard_normal((5, 3))
    target = descriptor(CUBIC).double()
    objective = Objective(EAD, EAD.cutoff, root=False, distance="entry")
    walkers = walkers_at(CUBIC.frac_coords, moved)
    objective.start(walkers)
    losses = objective.loss(walkers, objective.target(target))
    assert float(losses[0]) < 1e-4
    crystal = replace(CUBIC, frac_coords=moved)
    smallest = crystal.to_structure().distance_matrix
    smallest = smallest[~np.eye(5, dtype=bool)].min()
    values = descriptor(crystal).double()
    expected = (values - target).abs().sum() + abs(smallest - 1.95)
    assert float(losses[1]) == pytest.approx(float(expected / (target.sum() + 1.95)), rel=1e-4)
    x = walkers.positions.clone().requires_grad_()
    objective.loss(walkers.moved(x), objective.target(target))[1].backward()
    assert float(x.grad[5:].abs().max()) > 0


def test_chains_of_basin_hopping_do_not_mix(rng, monkeypatch):
    """A hop replaces the place that it came from, and only where it is lower."""
    start = [CUBIC.frac_coords + s * rng.standard_normal((5, 3)) for s in (0.05, 0.1, 0.2)]
    worse = CUBIC.frac_coords + 0.4 * rng.standard_normal((5, 3))
    hops = iter([worse, CUBIC.frac_coords, worse])
    monkeypatch.setattr(
        reconstruction, "make_starts", lambda *_: [Start(x, "spread") for x in start]
    )
    monkeypatch.setattr(reconstruction, "hop", lambda *_: next(hops))
    search = Search(
        waves=2, fresh=(3, 0), hops=3, rounds=(Round(3, 0, 0.1),), polish=None, population=3,
        exchanges=0, tolerance=0.0, chains=True,
    )  # fmt: skip
    owner = Reconstructor(EAD, search)
    run = reconstruction._Run(owner, [frame(CUBIC)], descriptor(CUBIC), [0])
    run.wave(0)
    run.wave(1)
    places = run.best[0].frac_coords.view(3, 5, 3).double().numpy()
    for place, expected in zip(places, (start[0], CUBIC.frac_coords, start[2]), strict=True):
        np.testing.assert_allclose(place, expected, atol=1e-5)
    assert run.results[0].loss < 1e-3
    for change in ({"hops": 2}, {"exchanges": 1}, {"fresh": (3, 1)}, {"rounds": QUICK.rounds},
                   {"focused": 3}):  # fmt: skip
        with pytest.raises(ValueError, match="in chains"):
            replace(search, **change)
    with pytest.raises(ValueError, match="distance must be one of"):
        replace(search, distance="far")
    with pytest.raises(ValueError, match="symmetric_hops must be within 0 and 1"):
        replace(search, symmetric_hops=1.5)


def test_the_papers_search_is_in_chains():
    paper = Search.from_config(load_table("reconstruction/paper.yaml"))
    assert (paper.chains, paper.distance, paper.root) == (True, "entry", False)
    assert paper.population * paper.waves * paper.rounds[0].iterations == 6 * 7 * 300
