"""One structure of other elements is the same prototype."""

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.known import Database, new_prototypes, prototype_kinds
from tests.known.crystals import networks, perovskites, variants

CUBE = 4.0 * np.eye(3)
FACES = np.array([[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
SALT = np.array([[0, 0, 0], *FACES, [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])


def salt(a, b):
    return Crystal(5.6 * np.eye(3), SALT, [a] * 4 + [b] * 4)


def caesium(a, b):
    return Crystal(CUBE, [[0, 0, 0], [0.5, 0.5, 0.5]], [a, b])


def test_elements_do_not_count_and_places_do():
    crystals = [salt(11, 17), caesium(55, 17), salt(12, 8), caesium(17, 55), salt(29, 29)]
    assert prototype_kinds(crystals, num_workers=0).tolist() == [0, 1, 0, 1, 4]
    new = new_prototypes(crystals, crystals[:1], num_workers=0)
    assert new.tolist() == [False, True, False, True, True]


@pytest.fixture(scope="module")
def known():
    return [*perovskites(6), *networks(10, np.random.default_rng(1)), salt(11, 17)]


def test_verdicts_are_those_of_the_matcher_on_every_pair(known, tmp_path):
    rng = np.random.default_rng(2)
    samples = [x for c in [*known[4:8], *perovskites(9)[8:], salt(3, 9)] for x in variants(c, rng)]
    compare = StructureMatcher()
    expected = [
        not any(compare.fit_anonymous(k.to_structure(), s.to_structure()) for k in known)
        for s in samples
    ]
    np.testing.assert_array_equal(new_prototypes(samples, known, num_workers=0), expected)
    database = Database(tmp_path / "known.sqlite", create=True)
    database.add(known, num_workers=0)
    np.testing.assert_array_equal(new_prototypes(samples, database, num_workers=0), expected)
    assert 5 < sum(expected) < len(expected) - 5
