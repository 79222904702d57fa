"""Acquisition against integrals done by hand and by numbers; choice under caps."""

import math
from collections import Counter

import numpy as np
import pytest

from pyg_crysdiff.design.acquisition import acquisition, hit_chances
from pyg_crysdiff.design.choosing import Caps, choose_batch, element_shares
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.prediction import Prediction

MEAN = np.array([0.0, 1.0, 2.0, -1.0])
STD = np.array([1.0, 0.5, 0.1, 2.0])


def drawn(count: int = 400_000) -> np.ndarray:
    return np.random.default_rng(0).normal(MEAN, STD, (count, len(MEAN)))


@pytest.mark.parametrize("bounds", [(-math.inf, 0.5), (0.5, 1.5), (1.0, math.inf)])
def test_chance_is_the_share_of_draws_within(bounds):
    values = drawn()
    share = ((values >= bounds[0]) & (values <= bounds[1])).mean(0)
    found = Prediction(MEAN, STD).chance(Objective("x", *bounds))
    np.testing.assert_allclose(found, share, atol=3e-3)


@pytest.mark.parametrize("direction", [-1, 1])
def test_expected_improvement_is_the_mean_gain_of_draws(direction):
    best = 0.3
    gain = np.maximum(direction * (drawn() - best), 0).mean(0)
    one = Objective("x", direction=direction)
    found = Prediction(MEAN, STD).improvement(one, best)
    np.testing.assert_allclose(found, gain, atol=8e-3)


SHARE, SHARED = np.array([0.0, 0.3, 0.9, 1.0]), 0.0


def drawn_with_a_shared_value() -> np.ndarray:
    values = drawn()
    return np.where(np.random.default_rng(1).random(values.shape) < SHARE, SHARED, values)


@pytest.mark.parametrize("bounds", [(-math.inf, 0.5), (0.5, 1.5), (0.0, 0.0)])
def test_chances_count_the_value_that_many_share(bounds):
    values = drawn_with_a_shared_value()
    share = ((values >= bounds[0]) & (values <= bounds[1])).mean(0)
    one, predicted = Objective("x", *bounds), Prediction(MEAN, STD, SHARE, SHARED)
    np.testing.assert_allclose(predicted.chance(one), share, atol=3e-3)
    np.testing.assert_allclose(hit_chances([one], {"x": predicted}), share, atol=3e-3)


@pytest.mark.parametrize("direction", [-1, 1])
def test_so_do_improvement_mean_and_deviation(direction):
    values, predicted = drawn_with_a_shared_value(), Prediction(MEAN, STD, SHARE, SHARED)
    gain = np.maximum(direction * (values + 0.2), 0).mean(0)
    one = Objective("x", direction=direction)
    np.testing.assert_allclose(predicted.improvement(one, -0.2), gain, atol=8e-3)
    mean, std = predicted.overall()
    np.testing.assert_allclose(mean, values.mean(0), atol=8e-3)
    np.testing.assert_allclose(std, values.std(0), atol=8e-3)


def test_improvement_is_a_product():
    wanted = [Objective("x", high=0.5), Objective("y", direction=1)]
    predicted = {"x": (MEAN, STD), "y": (MEAN[::-1], STD)}
    found = acquisition("improvement", wanted, predicted, {"y": 0.0})
    first, second = Prediction(MEAN, STD), Prediction(MEAN[::-1], STD)
    by_hand = first.chance(wanted[0]) * second.improvement(wanted[1], 0.0)
    np.testing.assert_allclose(found, by_hand)


def test_mean_and_bound():
    one = [Objective("x", high=0.5)]
    predicted = {"x": (np.array([0.4, 0.7, 1.0]), np.array([0.01, 0.01, 1.0]))}
    assert np.argsort(-acquisition("mean", one, predicted, {})).tolist() == [0, 1, 2]
    # one standard deviation below 1.0 lies within the bound, and 0.7 stays outside
    assert np.argsort(-acquisition("bound", one, predicted, {}, 1.0)).tolist() == [0, 2, 1]
    low = [Objective("x", direction=-1)]
    assert np.argmax(acquisition("mean", low, predicted, {})) == 0
    assert np.argmax(acquisition("bound", low, predicted, {}, 2.0)) == 2


def test_what_is_not_predicted_comes_last_and_order_stays():
    predicted = {"x": (np.array([math.nan, 0.0, 5.0]), np.ones(3))}
    for kind in ("improvement", "bound", "mean"):
        scores = acquisition(kind, [Objective("x", high=1.0)], predicted, {})
        assert np.argsort(-scores).tolist() == [1, 2, 0]
        assert scores[0] == -math.inf
    assert acquisition("random", [], predicted, {}).tolist() == [0, -1, -2]
    with pytest.raises(ValueError, match="acquisition must be one of"):
        acquisition("greedy", [], predicted, {})


def choose(scores, formulas, count, caps, **more):
    prototypes = more.pop("prototypes", ["p"] * len(scores))
    elements = more.pop("elements", [{1}] * len(scores))
    return choose_batch(
        np.array(scores, dtype=float), formulas, prototypes, elements, count, caps, **more
    )


def test_the_best_one_of_each_composition():
    found = choose([1, 5, 4, 3, math.nan], ["A", "B", "B", "C", "D"], 4, Caps())
    assert found == [1, 3, 0, 4]
    assert choose([1, 5, 4], ["A", "B", "B"], 3, Caps(), taken=Counter(B=1)) == [0]
    assert choose([1, 5, 4], ["A", "B", "B"], 2, Caps(per_composition=None)) == [1, 2]


def test_so_many_of_each_prototype():
    caps = Caps(per_prototype=1)
    assert choose([3, 2, 1], ["A", "B", "C"], 3, caps, prototypes=["p", "p", "q"]) == [0, 2]


def test_no_element_grows_too_much():
    """Oxygen is in a tenth of the data: of ten chosen at most two hold it."""
    elements = [{8, z} for z in range(20, 32)] + [{9, z} for z in range(20, 32)]
    formulas = [str(i) for i in range(24)]
    shares = dict.fromkeys(range(20, 32), 1.0) | {8: 0.1, 9: 0.5}
    caps = Caps(element_growth=2.0)
    found = choose(
        np.arange(24)[::-1], formulas, 10, caps, elements=elements, base_shares=shares
    )  # fmt: skip
    assert sum(8 in elements[i] for i in found) == 2
    assert len(found) == 10
    free = choose(
        np.arange(24)[::-1], formulas, 10, caps, elements=elements, base_shares=shares | {8: 1.0}
    )  # fmt: skip
    assert free == list(range(10))
    new = choose([2, 1], ["A", "B"], 2, caps, elements=[{99}, {99}], base_shares={8: 1.0})
    assert new == [0]  # one is always allowed


def test_shares_count_crystals():
    assert element_shares([{8, 22}, {8}, [9, 9], {9}]) == {8: 0.5, 22: 0.25, 9: 0.5}


@pytest.mark.parametrize(
    "bad", [{"per_composition": 0}, {"per_prototype": 0}, {"element_growth": 0.0}]
)
def test_caps_that_let_nothing_through_are_refused(bad):
    with pytest.raises(ValueError, match="must be"):
        Caps(**bad)
