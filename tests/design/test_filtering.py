"""Which drawn crystals are candidates."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.design import filtering
from pyg_crysdiff.design.filtering import Filter
from pyg_crysdiff.evaluation.uniqueness import kinds, novel
from pyg_crysdiff.known.database import Database
from pyg_crysdiff.sampling import Control


def salt(a=5.64, numbers=(11, 17), **info):
    """A cell of the rock-salt structure."""
    lattice = a / 2 * (np.ones((3, 3)) - np.eye(3))
    return Crystal(lattice, np.array([[0.0] * 3, [0.5] * 3]), np.array(numbers), info)


def doubled(crystal):
    """The same crystal in a cell of twice the length."""
    lattice = crystal.lattice * [[2.0], [1.0], [1.0]]
    frac = crystal.frac_coords * [0.5, 1.0, 1.0]
    both = np.concatenate([frac, frac + np.array([0.5, 0, 0])])
    return Crystal(lattice, both, np.tile(crystal.atomic_numbers, 2))


NACL, KCL, LIF, CSCL = salt(), salt(6.3, (19, 17)), salt(4.0, (3, 9)), salt(7.0, (55, 17))
BAD = Crystal(np.eye(3), np.zeros((2, 3)), np.array([11, 17]))


def statuses(verdicts):
    return [verdict.status for verdict in verdicts]


@pytest.mark.parametrize("as_database", [False, True])
def test_every_reason_in_its_order(tmp_path, as_database):
    known = [salt(5.6, material_id="mine")]
    if as_database:
        database = Database(tmp_path / "known.sqlite", create=True)
        database.add(known, source="a file")
        known = database
    drawn = [BAD, doubled(NACL), KCL, LIF, doubled(LIF), CSCL]
    judge = Filter(known, control=Control(forbidden=("Cs",)), num_workers=1)
    found = judge.judge(drawn, seen=[salt(6.2, (19, 17))])
    assert statuses(found) == ["invalid", "known", "seen", "candidate", "twice", "constraint"]
    assert "0.5 Angstrom" in found[0].reason
    assert "mine" in found[1].reason
    assert found[4].match == 3
    assert "Cs" in found[5].reason
    assert [v.passed for v in found].count(True) == 1


def test_a_candidate_that_was_not_evaluated_may_come_again():
    judge = Filter(num_workers=1)
    assert statuses(judge.judge([NACL])) == ["candidate"]
    assert statuses(judge.judge([NACL])) == ["candidate"]
    assert statuses(judge.judge([NACL], seen=[NACL])) == ["seen"]


@pytest.mark.parametrize("as_database", [False, True])
def test_distorted_copies_of_known_crystals(tmp_path, as_database):
    """A place that is off by a little more than the tolerance: a known one only where asked."""
    places = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    known = Crystal(np.eye(3) * 4, places, np.array([38, 22, 8, 8, 8]))
    moved = replace(known, frac_coords=places + np.eye(5)[4][:, None] * [[0, 0, 0.25]])
    there = [known]
    if as_database:
        there = Database(tmp_path / "known.sqlite", create=True)
        there.add([known], source="a file")
    assert statuses(Filter(there, num_workers=1).judge([moved, known])) == ["candidate", "known"]
    wide = Filter(there, known_within=0.5, num_workers=1)
    assert statuses(wide.judge([moved, known])) == ["known", "known"]
    # what was evaluated is another matter: the undistorted one may still be a hit
    assert statuses(Filter(known_within=0.5).judge([moved], seen=[known])) == ["candidate"]


def test_composition_counts_where_it_is_asked_for():
    odd = salt(numbers=(11, 10))
    assert statuses(Filter().judge([odd, NACL])) == ["candidate"] * 2
    found = Filter(valid="cdvae").judge([odd, NACL])
    assert statuses(found) == ["invalid", "candidate"]
    assert "SMACT" in found[0].reason
    with pytest.raises(ValueError, match="'structure' or 'cdvae'"):
        Filter(valid="nice")


def test_verdicts_are_those_of_the_harness(rng):
    known = [salt(rng.uniform(4, 7), pair) for pair in ((11, 17), (19, 17), (3, 9)) * 4]
    drawn = [salt(rng.uniform(4, 7), pair) for pair in ((11, 17), (12, 8), (19, 35)) * 4]
    for i, crystal in enumerate(drawn):  # some with an atom far from its place
        if i % 4 == 0:
            drawn[i] = replace(crystal, frac_coords=crystal.frac_coords * [[1], [0.55]])
    found = Filter(known, num_workers=1).judge(drawn)
    new = novel(drawn, known, num_workers=1)
    assert [v.status == "known" for v in found] == (~new).tolist()
    left = [c for c, ok in zip(drawn, new, strict=True) if ok]
    first = kinds(left, num_workers=1) == np.arange(len(left))
    assert Counter(statuses(found))["candidate"] == first.sum()


def test_known_cells_are_made_once(monkeypatch):
    made = []
    real = filtering.PrimitiveCells.of

    def of(self, crystals):
        made.extend(c for c in crystals if c not in self._made)
        return real(self, crystals)

    monkeypatch.setattr(filtering.PrimitiveCells, "of", of)
    known, seen = [salt(5.5)], [salt(6.2, (19, 17))]
    judge = Filter(known, num_workers=1)
    for _ in range(2):  # a round reads what was seen before anew
        again = [replace(crystal) for crystal in seen]
        assert statuses(judge.judge([salt(), KCL], again)) == ["known", "seen"]
    assert sum(c is known[0] for c in made) == 1
    assert sum(c.digest() == seen[0].digest() for c in made) == 1


@pytest.mark.parametrize(
    ("control", "word"),
    [
        ({"formulas": ("KCl", "Na2O")}, "none of"),
        ({"chemical_system": "Na-Cl-O"}, "not Cl Na O"),
        ({"allowed": ("Na",)}, "Cl must not occur"),
        ({"forbidden": "Na"}, "Na must not occur"),
        ({"required": "O"}, "O must occur"),
        ({"num_elements": (3, 4)}, "number of elements"),
    ],
)
def test_constraints_say_what_is_not_met(control, word):
    assert word in Control(**control).problem(NACL)


def test_constraints_that_are_met():
    met = Control(
        formulas=("Na4Cl4",), chemical_system="Cl-Na", allowed=("Na", "Cl", "O"), required=("Na",),
        forbidden=("K",), charge_neutral=True, num_elements=(2, 2),
    )  # fmt: skip
    assert met.problem(NACL) is None
    assert "SMACT" in Control(charge_neutral=True).problem(salt(numbers=(11, 10)))
