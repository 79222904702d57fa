"""Several candidates per composition: match rates of pairs, METRe and cRMSE of the set."""

import numpy as np
import pytest

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation import candidates as module
from pyg_crysdiff.evaluation.candidates import (
    agreement,
    candidate_distances,
    candidate_metrics,
)
from pyg_crysdiff.evaluation.definitions import definition
from pyg_crysdiff.evaluation.matching import best_rms_distances, rms_distances


def _salt(numbers, kind, move=0.0):
    """Two ions in the cell of rock salt or of caesium chloride, one of them moved."""
    cell = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.8 if kind == "rock" else np.eye(3) * 4.1
    frac = np.array([[0, 0, 0], [0.5 + move, 0.5, 0.5]])
    return Crystal(cell, frac, np.array(numbers))


ROCK, CAESIUM = _salt((11, 17), "rock"), _salt((11, 17), "caesium")
FLUORIDE = _salt((3, 9), "rock")
ALLOY = _salt((3, 12), "caesium")
TRUTH = [ROCK, CAESIUM, FLUORIDE]
BROKEN = Crystal(np.eye(3) * 4, np.zeros((2, 3)), np.array([3, 9]))


def test_polymorphs_in_the_wrong_order_count_for_metre_and_not_for_the_match_rate():
    # both polymorphs of NaCl are predicted, each where the other is asked for; LiF is not found
    found = candidate_metrics(candidate_distances([[CAESIUM, ROCK, BROKEN]], TRUTH), TRUTH, 0)
    assert found["match_rate_struct"].value == 0
    assert np.isnan(found["rmse_struct"].value)
    assert found["metre_struct"].value == pytest.approx(2 / 3)
    assert found["crmse_struct"].value == pytest.approx(0.5 / 3)
    assert not any("_any" in key for key in found)  # one candidate
    assert all(definition(key) for key in found)


def test_several_candidates_by_hand():
    moved = _salt((11, 17), "rock", 0.03)
    (rms,) = rms_distances([moved], [ROCK])
    assert 0 < rms < 0.1
    first, second = [moved, ROCK, BROKEN], [CAESIUM, ROCK, FLUORIDE]
    found = candidate_metrics(candidate_distances([first, second], TRUTH), TRUTH, 0)
    assert found["match_rate_struct"].value == pytest.approx(1 / 3)
    assert found["rmse_struct"].value == pytest.approx(rms)
    assert found["match_rate_any_struct"].value == pytest.approx(2 / 3)
    assert found["rmse_any_struct"].value == pytest.approx(rms / 2)
    assert found["metre_struct"].value == pytest.approx(1 / 3)  # rock salt, by the second row
    assert found["crmse_struct"].value == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert found["metre_any_struct"].value == 1
    assert found["crmse_any_struct"].value == pytest.approx(0, abs=1e-6)


def test_agreement_counts_the_others_that_match_of_the_same_composition_alone():
    moved = _salt((11, 17), "rock", 0.03)
    counts = agreement([[CAESIUM, FLUORIDE], [moved, BROKEN], [ROCK, BROKEN]])
    assert counts.tolist() == [[0, 0], [1, 0], [1, 0]]
    assert agreement([[ROCK, FLUORIDE]]).tolist() == [[0, 0]]


def test_valid_asks_for_smact_in_the_numerator_alone(monkeypatch):
    monkeypatch.setattr(module, "smact_validity", lambda numbers: 12 not in numbers)
    truth = [ROCK, ALLOY]
    found = candidate_metrics(candidate_distances([truth], truth), truth, 0)
    assert found["match_rate"].value == 0.5
    assert found["match_rate_struct"].value == 1


def test_each_pair_is_compared_once_and_the_set_is_that_of_the_plain_rule(monkeypatch):
    rng = np.random.default_rng(0)
    truth = [ROCK, CAESIUM, FLUORIDE, _salt((11, 17), "rock", 0.1)]
    kinds = [("rock", "caesium", "rock", "caesium"), ("caesium", "rock", "caesium", "rock")]
    candidates = [
        [
            _salt(c.atomic_numbers, kind, rng.uniform(0, 0.1))
            for c, kind in zip(truth, part, strict=True)
        ]
        for part in kinds
    ]
    seen = []

    def counted(predicted, reference, **options):
        seen.extend((id(p), id(r)) for p, r in zip(predicted, reference, strict=True))
        return rms_distances(predicted, reference, **options)

    monkeypatch.setattr(module, "rms_distances", counted)
    found = candidate_distances(candidates, truth)
    assert len(seen) == len(set(seen)) == 2 * (3 * 3 + 1)
    np.testing.assert_array_equal(found.first, best_rms_distances(candidates[0], truth))
    flat = candidates[0] + candidates[1]
    np.testing.assert_array_equal(found.pooled, best_rms_distances(flat, truth))
    for k in range(2):
        np.testing.assert_array_equal(found.own[k], rms_distances(candidates[k], truth))
    seen.clear()
    mixed = [candidates[k][r] for r, k in enumerate((1, 0, 1, 1))]
    chosen = found.of_chosen(np.array([1, 0, 1, 1]))
    assert not seen  # nothing is compared anew
    np.testing.assert_array_equal(chosen.own, [rms_distances(mixed, truth)])
    np.testing.assert_array_equal(chosen.first, best_rms_distances(mixed, truth))


def test_too_many_pairs_leave_metre_out_and_nothing_else():
    candidates = [[CAESIUM, ROCK, FLUORIDE], TRUTH]
    few = candidate_distances(candidates, TRUTH, most_pairs=2)
    assert few.pooled is None
    assert few.first is not None
    keys = set(candidate_metrics(few, TRUTH, 0))
    assert "metre_struct" in keys
    assert "metre_any_struct" not in keys
    assert few.of_chosen(np.array([1, 1, 1])).first is None
    none = candidate_distances(candidates, TRUTH, most_pairs=1)
    assert none.first is None
    np.testing.assert_array_equal(none.own, few.own)
    assert "match_rate_any" in candidate_metrics(none, TRUTH, 0)


def test_candidates_must_be_there_for_every_crystal():
    with pytest.raises(ValueError, match=r"3 true crystals, \[3, 2\] candidates"):
        candidate_distances([TRUTH, TRUTH[:2]], TRUTH)
    with pytest.raises(ValueError, match="at least one"):
        candidate_distances([], TRUTH)
