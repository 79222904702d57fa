"""Whole atoms from noisy fractions."""

from itertools import permutations

import numpy as np
import pytest

from pyg_crysdiff.structrepdiff.composition import KnownCounts, fit_counts

KNOWN = {"4 1 1": 30, "2 2 2": 5, "3 3": 8, "3 2 1": 40, "2 1": 17}


def test_fractions_are_rounded_without_known_counts():
    assert fit_counts(np.array([0.6, 0.4]), 4.2, [2, 4]).tolist() == [2, 2]
    assert fit_counts(np.array([0.12, 0.46, 0.11, 0.17, 0.14]), 5.0, [5]).tolist() == [
        1,
        2,
        0,
        1,
        1,
    ]


def test_the_most_probable_counts_are_those_of_all_assignments(rng):
    """The density written out for every order of every known row."""
    unit, size_unit, error = 0.12, 1.7, 0.4
    known = KnownCounts(KNOWN, unit, size_unit, error)
    for _ in range(30):
        share = rng.dirichlet(np.ones(4)) + 0.1 * rng.standard_normal(4)
        m = rng.uniform(2, 7)
        best = None
        for row, number in KNOWN.items():
            counts = [int(c) for c in row.split()]
            for order in set(permutations([*counts, *[0] * (4 - len(counts))])):
                c = np.array(order)
                gauss = np.square((c / c.sum() - share) / (error * unit)).sum()
                gauss += ((c.sum() - m) / (error * size_unit)) ** 2
                log_p = -0.5 * gauss + np.log(number / 100)
                if best is None or log_p > best[0]:
                    best = (log_p, c.tolist())
        assert known.fit(share, m).tolist() == best[1]


def test_noise_of_absent_elements_does_not_add_up(rng):
    """A compound among 80 elements keeps its counts at a noise that rounding does not survive."""
    truth = np.zeros(80, dtype=int)
    truth[[7, 40, 60]] = 8, 4, 4
    unit = 0.07
    known = KnownCounts({**KNOWN, "8 4 4": 3, "8 5 3": 3}, unit, 5.0)
    right = {"known": 0, "rounded": 0}
    for _ in range(40):
        share = truth / 16 + 0.1 * unit * rng.standard_normal(80)
        size = 16 + 0.5 * rng.standard_normal()
        right["known"] += known.fit(share, size).tolist() == truth.tolist()
        right["rounded"] += fit_counts(share, size, [3, 6, 16]).tolist() == truth.tolist()
    assert right["known"] == 40
    assert right["rounded"] < 5


def test_sizes_that_do_not_vary_do_not_matter_and_elements_suffice():
    known = KnownCounts({"3 1 1": 9, "3 2": 1}, 0.1, 0.0)
    assert known.fit(np.array([0.2, 0.6, 0.2]), 1e6).tolist() == [1, 3, 1]
    assert known.fit(np.array([0.35, 0.65]), np.nan).tolist() == [2, 3]
    with pytest.raises(ValueError, match="no known counts"):
        KnownCounts({}, 0.1, 1.0)
