"""Numbers of the reference are made once, and only for what they were made for."""

from __future__ import annotations

import numpy as np
import pytest

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation import evaluate, reference
from pyg_crysdiff.evaluation.reference import predictions, space_groups

ROCK = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.8


def salts(*ions: int) -> list[Crystal]:
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    return [Crystal(ROCK, frac, np.array([ion, 17])) for ion in ions]


class Predictor:
    """The first atomic number; none for potassium. Counts the crystals it is asked for."""

    property_name = "charge"

    def __init__(self, identity=None):
        self.asked = 0
        if identity is not None:
            self.identity = identity

    def predict(self, crystals, *, progress=False):
        self.asked += len(crystals)
        numbers = [float(crystal.atomic_numbers[0]) for crystal in crystals]
        return np.array([np.nan if z == 19 else z for z in numbers])


def test_space_groups_are_kept_for_the_same_crystals(tmp_path, monkeypatch):
    assert space_groups(salts(3, 11), num_workers=0, cache_dir=tmp_path) == [225, 225]
    monkeypatch.setattr(reference, "space_group", lambda crystal: 1)
    assert space_groups(salts(3, 11), num_workers=0, cache_dir=tmp_path) == [225, 225]
    assert space_groups(salts(3, 19), num_workers=0, cache_dir=tmp_path) == [1, 1]
    assert space_groups(salts(3, 11), num_workers=0) == [1, 1]


def test_predictions_are_kept_for_the_same_predictor_and_crystals(tmp_path):
    first = Predictor(["weights", 1])
    for _ in range(2):
        found = predictions(first, salts(11, 19), cache_dir=tmp_path)
        np.testing.assert_equal(found, [11, np.nan])
    assert first.asked == 2
    other = Predictor(["weights", 2])
    predictions(other, salts(11, 19), cache_dir=tmp_path)
    predictions(first, salts(11, 3), cache_dir=tmp_path)
    assert (first.asked, other.asked) == (4, 2)


@pytest.mark.parametrize("folder", [True, False])
def test_a_predictor_without_identity_is_asked_each_time(folder, tmp_path):
    nameless = Predictor()
    for _ in range(2):
        predictions(nameless, salts(3), cache_dir=tmp_path if folder else None)
    assert nameless.asked == 2


def test_a_second_evaluation_asks_for_its_samples_alone(tmp_path):
    judge, options = Predictor(["weights"]), {"num_workers": 0, "num_bootstrap": 0}
    one = evaluate(salts(3), reference=salts(11, 3), evaluator=judge, cache_dir=tmp_path, **options)
    assert judge.asked == 3
    two = evaluate(salts(3), reference=salts(11, 3), evaluator=judge, cache_dir=tmp_path, **options)
    assert judge.asked == 4
    assert str(one.metrics) == str(two.metrics)
    assert one.metrics["property_emd"].value == pytest.approx(4)
