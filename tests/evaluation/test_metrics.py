import numpy as np
import pytest
from scipy.stats import norm

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation import amd_distance, matching
from pyg_crysdiff.evaluation.distribution import (
    density,
    earth_movers_distance,
    num_elements,
    reduced_formula,
    space_group,
    total_variation,
)
from pyg_crysdiff.evaluation.matching import best_rms_distances, rms_distances
from pyg_crysdiff.evaluation.statistics import mean_estimate, statistic_estimate
from pyg_crysdiff.evaluation.success import (
    best_of_ten_success,
    percentile_thresholds,
    property_success,
    strict_success,
    unique_success,
)
from pyg_crysdiff.evaluation.uniqueness import first_occurrences, kinds, novel
from tests.conftest import make_crystal


def moved(crystal: Crystal, rng) -> Crystal:
    """The same crystal in another description: origin, atom order, cell, orientation."""
    structure = crystal.to_structure()
    structure.translate_sites(range(len(structure)), rng.random(3))
    structure.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    out = Crystal.from_structure(structure)
    order = rng.permutation(len(out))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return Crystal(out.lattice @ rotation, out.frac_coords[order], out.atomic_numbers[order])


def test_density_of_rock_salt():
    frac = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    frac += [[0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    crystal = Crystal(5.64 * np.eye(3), frac, [11] * 4 + [17] * 4)
    assert density(crystal) == pytest.approx(2.164, abs=2e-3)
    assert density(crystal) == pytest.approx(crystal.to_structure().density, rel=1e-12)
    assert num_elements(crystal) == 2


def test_earth_movers_distance_of_shifted_samples(rng):
    values = rng.normal(size=50)
    assert earth_movers_distance(values, values + 0.3) == pytest.approx(0.3)
    assert np.isnan(earth_movers_distance([np.nan], values))


def test_all_asks_the_property_alone():
    predicted = [0.0, 1.0, 1.0001, np.nan, np.inf, -np.inf]
    np.testing.assert_array_equal(property_success(predicted, 1.0), [1, 1, 0, 0, 0, 0])
    assert len(property_success([], 1.0)) == 0


def test_strict_counts_invalid_as_failures():
    predicted = [0.0, 0.0, np.nan, 2.0, 1.0]
    valid = [True, False, True, True, True]
    np.testing.assert_array_equal(strict_success(predicted, valid, 1.0), [1, 0, 0, 0, 1])
    first = [True, True, True, True, False]
    np.testing.assert_array_equal(strict_success(predicted, valid, 1.0, first), [1, 0, 0, 0, 0])


def test_best_of_ten_is_candidate_major():
    # 2 starts, 10 candidates each; sample c * 2 + s. Only start 1 has a good candidate.
    predicted = np.full(20, 9.0)
    predicted[3 * 2 + 1] = 0.0
    valid = np.ones(20, dtype=bool)
    np.testing.assert_array_equal(best_of_ten_success(predicted, valid, 1.0), [0, 1])
    valid[7] = False
    np.testing.assert_array_equal(best_of_ten_success(predicted, valid, 1.0), [0, 0])
    assert len(best_of_ten_success(predicted[:7], valid[:7], 1.0)) == 0
    # CDVAE's script saves eleven candidates of each start
    eleventh = np.append(np.full(20, 9.0), [9.0, 0.0])
    found = best_of_ten_success(eleventh, np.ones(22, bool), 1.0, num_starts=2)
    np.testing.assert_array_equal(found, [0, 1])
    # the remainder beyond a multiple of ten is not used
    assert len(best_of_ten_success(np.zeros(25), np.ones(25, bool), 1.0)) == 2


def test_thresholds_are_percentiles():
    assert percentile_thresholds(np.arange(101)) == (5.0, 10.0, 15.0)


def test_bootstrap_interval_covers_a_known_mean(rng):
    hits = 0
    for seed in range(60):
        estimate = mean_estimate(rng.normal(1.0, 2.0, 100), 400, seed)
        hits += estimate.low <= 1.0 <= estimate.high
    assert 50 <= hits <= 60
    assert np.isnan(mean_estimate([], 100, 0).value)
    wide = mean_estimate(rng.normal(0, 1, 400), 1000, 0)
    assert wide.high - wide.low == pytest.approx(2 * norm.ppf(0.975) / 20, rel=0.15)


@pytest.mark.parametrize("number", [1, 10, 200])
def test_proportion_of_all_or_none_has_the_exact_interval(number):
    # The chance of seeing all of them is .025 at the lower end.
    every = mean_estimate(np.ones(number, dtype=bool), 100, 0)
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low**number == pytest.approx(0.025)
    none = mean_estimate(np.zeros(number), 100, 0)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - every.low)
    assert mean_estimate(np.ones(number), 0, 0).low is None


def test_distances_that_are_all_zero_have_no_interval_of_a_proportion(rng):
    for value in (0.0, 1.0):
        found = mean_estimate(np.full(5, value), 100, 0, proportion=False)
        assert (found.value, found.low, found.high) == (value, value, value)


def test_statistic_bootstrap_equals_mean_bootstrap(rng):
    values = rng.normal(size=30)
    a = mean_estimate(values, 300, 0)
    b = statistic_estimate(lambda i: float(values[i].mean()), 30, 300, 1)
    assert a.value == pytest.approx(b.value)
    assert a.low == pytest.approx(b.low, abs=0.1)


def test_interval_of_a_distance_holds_its_value(rng):
    # The distance of 200 draws to their own distribution: resampling only ever makes it larger.
    groups, known = rng.integers(0, 40, 200), np.repeat(np.arange(40), 25)
    found = statistic_estimate(lambda i: total_variation(groups[i], known), len(groups), 300, 0)
    assert found.low < found.value < found.high


def test_duplicates_in_other_descriptions_are_found(rng):
    a, b = make_crystal(rng, 3), make_crystal(rng, 4)
    crystals = [a, b, moved(a, rng), moved(b, rng), make_crystal(rng, 3)]
    np.testing.assert_array_equal(
        first_occurrences(crystals, num_workers=0), [True, True, False, False, True]
    )
    np.testing.assert_array_equal(kinds(crystals, num_workers=0), [0, 1, 0, 1, 4])
    np.testing.assert_array_equal(
        novel(crystals, [moved(b, rng)], num_workers=0), [True, False, True, False, True]
    )
    assert novel(crystals, [], num_workers=0).all()
    assert first_occurrences([], num_workers=0).shape == (0,)


def test_parallel_uniqueness_equals_serial(rng):
    crystals = [make_crystal(rng, 2, (6,)) for _ in range(12)] * 2
    serial = first_occurrences(crystals, num_workers=0)
    np.testing.assert_array_equal(serial, first_occurrences(crystals, num_workers=2))
    assert not serial[12:].any()


def test_reconstruction_distance_of_a_known_shift():
    cube = 4.0 * np.eye(3)
    truth = Crystal(cube, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
    off = Crystal(cube, [[0, 0, 0], [0.5, 0.5, 0.55]], [55, 17])
    other = Crystal(cube, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 35])
    found = rms_distances([truth, off, other, truth], [truth] * 4, valid=[1, 1, 1, 0])
    # pymatgen removes the mean displacement: 0.1 A on each of two atoms, over (V / N)^(1/3)
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert found[1] == pytest.approx(0.1 / 32 ** (1 / 3), rel=1e-6)
    assert np.isnan(found[2:]).all()
    with pytest.raises(ValueError, match="one by one"):
        rms_distances([truth], [])


def test_a_crystal_of_many_pairs_is_checked_once(monkeypatch, rng):
    crystals = [make_crystal(rng, num_atoms=2) for _ in range(3)]
    looked = []
    check = matching.structural_problem
    monkeypatch.setattr(matching, "structural_problem", lambda c: looked.append(c) or check(c))
    pairs = [(a, b) for a in crystals for b in crystals]
    found = rms_distances(*zip(*pairs, strict=True), num_workers=0)
    assert len(looked) == len(crystals)
    alone = [rms_distances([a], [b], num_workers=0)[0] for a, b in pairs]
    np.testing.assert_array_equal(found, alone)


def test_metre_looks_at_the_set_and_not_at_pairs():
    cube = 4.0 * np.eye(3)
    a = Crystal(cube, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
    b = Crystal(cube, [[0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]], [55, 17, 17])
    c = Crystal(cube, [[0, 0, 0], [0.5, 0.5, 0.5]], [12, 8])
    off = Crystal(cube, [[0, 0, 0], [0.5, 0.5, 0.55]], [55, 17])
    found = best_rms_distances([off, c, a], [a, b, c], num_workers=0)
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(0, abs=1e-9)
    assert np.isnan(best_rms_distances([], [a])).all()
    assert np.isnan(best_rms_distances([a], [a], valid=[False])).all()


def test_average_minimum_distance_of_a_cube():
    pytest.importorskip("amd")
    cube = Crystal(3.0 * np.eye(3), [[0, 0, 0]], [29])
    found = amd_distance.average_minimum_distances(cube)
    np.testing.assert_allclose(found[:18], [3.0] * 6 + [3.0 * 2**0.5] * 12)


def test_amd_distances_see_descriptions_as_equal_and_strain_as_continuous(rng):
    pytest.importorskip("amd")
    a, b = make_crystal(rng, 3, (8, 22)), make_crystal(rng, 3, (79,))
    strained = Crystal(1.01 * a.lattice, a.frac_coords, a.atomic_numbers)
    crystals = [a, b, moved(a, rng), strained]
    found = amd_distance.nearest_earlier(crystals, num_workers=0)
    assert np.isinf(found[:2]).all()
    assert found[2] == pytest.approx(0, abs=1e-6)
    assert 0.005 < found[3] < 0.2
    np.testing.assert_allclose(
        amd_distance.nearest_known([strained, b], [a], num_workers=0), [found[3], np.inf]
    )


def test_space_groups_and_formulas():
    cube = 4.0 * np.eye(3)
    assert space_group(Crystal(cube, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])) == 221
    assert space_group(Crystal(cube, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 55])) == 229
    assert reduced_formula(Crystal(cube, np.zeros((6, 3)), [22, 22, 8, 8, 8, 8])) == "TiO2"


def test_total_variation():
    assert total_variation([1, 1, 2], [1, 1, 2]) == 0
    assert total_variation([1, 1], [2]) == 1
    assert total_variation([1, 1, 1, 2], [1, 2]) == pytest.approx(0.25)
    assert np.isnan(total_variation([], [1]))


def test_percentiles_are_those_of_the_known_values():
    known = np.linspace(0, 1, 21)
    assert percentile_thresholds([*known, np.nan, np.nan]) == percentile_thresholds(known)
    assert percentile_thresholds(known) == pytest.approx((0.05, 0.1, 0.15))
    with pytest.raises(ValueError, match="no training crystal"):
        percentile_thresholds([np.nan])


def test_unique_successes_count_kinds_and_not_their_first_members():
    """A kind counts once where any of its crystals succeeds, also if its first one misses."""
    kind = [0, 1, 0, 1, 4, 4, np.nan]
    predicted = [2.0, 0.5, 0.9, 0.4, 0.1, 0.2, 0.0]
    valid = [True, True, True, True, False, True, False]
    found = unique_success(predicted, valid, 1.0, kind)
    np.testing.assert_array_equal(found, [0, 1, 1, 0, 0, 1, 0])
    assert found.sum() == 3  # kinds 0, 1 and 4
    np.testing.assert_array_equal(unique_success(predicted, valid, -1.0, kind), np.zeros(7))
