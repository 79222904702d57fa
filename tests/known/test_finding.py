"""Verdicts against a database are those against the crystals themselves."""

import numpy as np
import pytest

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.uniqueness import kinds, novel
from pyg_crysdiff.known import Database, find_known
from pyg_crysdiff.known.cells import Cell, matcher, matching_key
from pyg_crysdiff.known.comparing import fits
from tests.known.crystals import networks, perovskites, variants


@pytest.fixture(scope="module")
def known():
    return [*perovskites(60), *networks(60, np.random.default_rng(1))]


@pytest.fixture(scope="module")
def database(known, tmp_path_factory):
    found = Database(tmp_path_factory.mktemp("known") / "known.sqlite", create=True)
    found.add(known, source="mine", num_workers=0)
    return found


def samples(known):
    rng = np.random.default_rng(2)
    others = [*perovskites(90)[60:], *networks(40, rng)]
    return [x for c in [*known[:12], *known[60:80], *others[::3]] for x in variants(c, rng)]


def test_verdicts_are_those_of_the_crystals_themselves(known, database):
    generated = samples(known)
    expected = novel(generated, known, num_workers=0)
    found = novel(generated, database, num_workers=0)
    np.testing.assert_array_equal(found, expected)
    assert 50 < expected.sum() < len(expected) - 50


def test_the_crystal_that_is_named_matches(known, database):
    generated = samples(known)[:80]
    named = find_known(generated, database, num_workers=0)
    matched = [(c, found.row) for c, found in zip(generated, named, strict=True) if found]
    assert len(matched) > 20
    for crystal, row in matched:  # rows count from 1 in the order of adding
        assert not novel([crystal], [known[row - 1]], num_workers=0)[0]
    assert {found.source for found in named if found} == {"mine"}
    ids = [known[row - 1].info.get("material_id", "") for _, row in matched]
    assert [found.name for found in named if found] == ids


def test_many_at_once_are_found_as_one_by_one(database):
    generated = [c for x in perovskites(40) for c in variants(x, np.random.default_rng(3))]
    assert len(generated) > 200  # which processes are started for
    together = find_known(generated, database, num_workers=2)
    alone = [find_known([c], database, num_workers=0)[0] for c in generated[::20]]
    assert together[::20] == alone


def test_who_cannot_be_reduced_matches_nothing(database):
    needle = Crystal(np.diag([1000.0, 1.0, 1.0]), [[0, 0, 0]], [6])
    assert find_known([needle], database, num_workers=0) == [None]
    database.add([needle], num_workers=0)
    assert find_known([needle], database, num_workers=0) == [None]
    assert database.facts().without_key == 1


def test_a_lattice_that_is_refused_never_matches():
    """On thousands of pairs the matcher alone gives the same verdict as with the refusal."""
    rng = np.random.default_rng(4)
    some = networks(60, rng)
    close = [x for c in some[:12] for x in variants(c, rng)]
    cells = [matching_key(c) for c in [*some, *close]]
    compare = matcher()
    refused = matched = pairs = 0
    for i, (key, a) in enumerate(cells):
        for other, b in cells[:i]:
            if key != other:
                continue
            verdict = compare.fit(a, b, skip_structure_reduction=True)
            may = Cell(a).lattice.may_become(Cell(b).lattice)
            assert may or not verdict
            assert fits(compare, Cell(a), Cell(b)) == verdict
            pairs, refused, matched = pairs + 1, refused + (not may), matched + verdict
    assert pairs > 2000
    assert refused > 0.3 * pairs
    assert matched > 50


def test_kinds_are_those_of_the_matcher_alone():
    rng = np.random.default_rng(5)
    crystals = [x for c in networks(6, rng) for x in [c, *variants(c, rng)]]
    compare, firsts, expected = matcher(), [], []
    cells = [matching_key(c) for c in crystals]
    for i, (key, cell) in enumerate(cells):
        same = (
            k for k in firsts
            if cells[k][0] == key and compare.fit(cells[k][1], cell, skip_structure_reduction=True)
        )  # fmt: skip
        expected.append(next(same, i))
        if expected[-1] == i:
            firsts.append(i)
    np.testing.assert_array_equal(kinds(crystals, num_workers=0), expected)
