import itertools

import numpy as np
import pytest
import smact
from pymatgen.core import Element
from smact.screening import pauling_test

from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.evaluation import composition
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.evaluation.validity import min_distance, structural_problem
from tests.conftest import make_crystal

CUBE = 4 * np.eye(3)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Crystal(CUBE, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]), None),
        (Crystal(CUBE, [[0, 0, 0], [0.99, 0, 0]], [11, 17]), "closer"),
        (Crystal(CUBE, [[0, 0, 0], [0.13, 0, 0]], [11, 17]), None),
        (Crystal(0.4 * np.eye(3), [[0, 0, 0]], [11]), "volume"),
        (Crystal(np.diag([4.0, 4, 0]), [[0, 0, 0]], [11]), "length"),
        (Crystal(np.array([[4.0, 0, 0], [4, 0, 0], [0, 0, 4]]), [[0, 0, 0]], [11]), "volume"),
        (Crystal(np.full((3, 3), np.nan), [[0, 0, 0]], [11]), "finite"),
        (Crystal(CUBE, [[np.inf, 0, 0]], [11]), "finite"),
        (Crystal(CUBE, np.zeros((0, 3)), []), "no atoms"),
        (Crystal(CUBE, [[0, 0, 0]], [119]), "element"),
        (Crystal(CUBE, [[0, 0, 0]], [118]), None),
        (BrokenEntry(3, "no cell"), "no cell"),
    ],
)
def test_structural_problems(entry, reason):
    found = structural_problem(entry)
    assert (found is None) if reason is None else (reason in found)


def test_min_distance_is_periodic(rng):
    crystal = make_crystal(rng, 4)
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    positions = crystal.frac_coords @ crystal.lattice
    slow = min(
        np.linalg.norm(positions[i] - positions[j] + shift @ crystal.lattice)
        for i in range(4)
        for j in range(4)
        for shift in shifts
        if i != j
    )
    assert min_distance(crystal) == pytest.approx(slow, abs=1e-10)


@pytest.mark.parametrize(
    ("formula", "valid"),
    [
        ([11, 17], True),  # NaCl
        ([22, 8, 8], True),  # TiO2
        ([11, 17, 17], False),  # NaCl2
        ([6], True),  # one element
        ([26, 29], True),  # alloy
        ([2, 8], False),  # helium has no oxidation state
        ([118, 8], False),  # beyond the tables
        ([], False),
        ([130], False),
    ],
)
def test_known_compositions(formula, valid):
    assert smact_validity(formula) is valid


def brute_force(numbers):
    """The rule written out: every combination of oxidation states."""
    elements, counts = np.unique(numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    symbols = [Element.from_Z(int(z)).symbol for z in elements]
    if len(symbols) == 1 or all(s in smact.metals for s in symbols):
        return True
    facts = [smact.Element(s) for s in symbols]
    return any(
        np.dot(states, counts) == 0 and pauling_test(states, [f.pauling_eneg for f in facts])
        for states in itertools.product(*[f.oxidation_states_smact14 for f in facts])
    )


def test_the_rule_equals_all_combinations(rng):
    verdicts = []
    for _ in range(150):
        size = int(rng.integers(2, 5))
        elements = rng.choice([1, 3, 6, 7, 8, 9, 12, 16, 17, 22, 25, 26, 38, 40, 77], size)
        numbers = np.repeat(elements, rng.integers(1, 4, size))
        verdicts.append(smact_validity(numbers))
        assert verdicts[-1] == brute_force(numbers), numbers
    assert 0 < sum(verdicts) < len(verdicts)


def test_profiles_differ_where_their_data_do():
    for numbers in ([40, 1, 11], [77, 81, 85]):  # Zr beside H and Na; Ir as an anion
        assert smact_validity(numbers, "cdvae") is False
        assert smact_validity(numbers, "cdvae-2.2.1") is True
    assert smact_validity([11, 17], "smact4") is True


def test_many_elements_do_not_explode():
    assert smact_validity(list(range(20, 50)) * 2) in (True, False)


def test_own_search_gives_the_verdict_of_smact_4(rng, monkeypatch):
    compositions = []
    for _ in range(300):
        elements = rng.choice(np.arange(1, 95), rng.integers(2, 5), replace=False)
        compositions.append(np.repeat(elements, rng.integers(1, 5, len(elements))))
    theirs = [smact_validity(c, "smact4") for c in compositions]
    monkeypatch.setattr(composition, "_MOST_CHOICES", 0)
    composition._validity.cache_clear()
    ours = [smact_validity(c, "smact4") for c in compositions]
    composition._validity.cache_clear()
    assert ours == theirs
    assert 20 < sum(ours) < 280


def test_many_elements_end_in_a_verdict():
    # 10^20 combinations of oxidation states: only a search that merges equal futures ends
    soup = np.array([1, 8, 15, 16, 17, 24, 25, 26, 27, 34, 35, 44, 52, 53, 74, 75, 76, 77, 83, 92])
    for profile in ("cdvae", "smact4"):
        assert smact_validity(np.repeat(soup, 3), profile) in (True, False)
