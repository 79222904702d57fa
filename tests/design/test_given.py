"""A predictor that is given: what it says, what is learnt of its errors, what does not fit."""

import numpy as np
import pytest

from pyg_crysdiff.design.features import features
from pyg_crysdiff.design.given import Corrected, GivenPredictor
from pyg_crysdiff.design.ledger import Ledger
from pyg_crysdiff.design.oracles.model import ModelOracle
from tests.design.loop_toys import run, story, tiny_checkpoint, toy_data, toy_energy
from tests.design.test_predictors import perovskite

CRYSTALS = [perovskite(a, b, 8, 3.6 + 0.01 * a) for a in range(19, 57) for b in (22, 40)]
LENGTHS = np.array([c.lattice[0, 0] for c in CRYSTALS])


class Model:
    """Predicts the toy energy, and is wrong by a constant."""

    property_name = "energy"

    def __init__(self, wrong: float = 0.0, sign: float = 1.0) -> None:
        self.wrong, self.sign = wrong, sign
        self.identity = [wrong, sign]
        self.asked = 0

    def predict(self, crystals, *, progress=False):
        self.asked += len(crystals)
        return np.array([self.sign * toy_energy(c) + self.wrong for c in crystals])


class Length(Model):
    """Predicts a length, and knows nothing of how it goes with the first element."""

    def predict(self, crystals, *, progress=False):
        self.asked += len(crystals)
        return np.array([3.6 for _ in crystals])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors")


def test_without_evaluations_it_stands_alone_with_its_error_on_the_data():
    given = GivenPredictor(Length())
    found = Corrected.fit(given, (CRYSTALS, LENGTHS), ([], np.empty(0)), np.empty((0, 321)))
    mean, std = found.prediction(CRYSTALS[:3], np.zeros((3, 321))).overall()
    np.testing.assert_array_equal(mean, 3.6)
    np.testing.assert_allclose(std, np.sqrt(np.mean((LENGTHS - 3.6) ** 2)))
    assert found.facts["values"] == 0


def test_its_errors_are_learnt_from_evaluations_alone():
    rows = features(CRYSTALS, num_workers=1)
    given, tried = GivenPredictor(Length()), slice(0, 50)
    misleading = (CRYSTALS, np.full(len(CRYSTALS), 3.6))  # it may have learnt these by heart
    found = Corrected.fit(given, misleading, (CRYSTALS[tried], LENGTHS[tried]), rows[tried])
    mean, std = found.prediction(CRYSTALS[50:], rows[50:]).overall()
    assert np.abs(mean - LENGTHS[50:]).mean() < 0.3 * np.abs(LENGTHS[50:] - 3.6).mean()
    assert (std > 0).all()
    assert found.facts["given_mae"] == pytest.approx(np.abs(LENGTHS[tried] - 3.6).mean())
    assert found.facts["mae"] < found.facts["given_mae"]
    assert found.facts["corrected"]


def test_errors_that_cannot_be_learnt_are_left_as_they_are(rng):
    rows = features(CRYSTALS, num_workers=1)
    given, tried = GivenPredictor(Length()), slice(0, 40)
    noise = 3.6 + rng.normal(0, 0.1, 40)
    found = Corrected.fit(given, ([], np.empty(0)), (CRYSTALS[tried], noise), rows[tried])
    assert not found.facts["corrected"]
    mean, std = found.prediction(CRYSTALS[40:], rows[40:]).overall()
    np.testing.assert_array_equal(mean, 3.6)
    np.testing.assert_allclose(std, np.sqrt(np.mean((noise - 3.6) ** 2)))


def test_what_it_predicted_is_remembered():
    given = GivenPredictor(Model())
    first = given.predict(CRYSTALS[:5])
    np.testing.assert_array_equal(given.predict(CRYSTALS[:6])[:5], first)
    assert given.model.asked == 6


def test_its_error_is_told_by_data_by_its_card_or_by_its_spread():
    given = GivenPredictor(Length())
    none = ([], np.empty(0))
    with pytest.raises(ValueError, match="give data with at least 20 values of energy"):
        given.error(*none)
    given.model.std = 0.7
    assert given.error(*none) == 0.7
    given.model.card = {"held_out_mae": 0.1}
    assert given.error(*none) == pytest.approx(0.1 * np.sqrt(np.pi / 2))
    assert given.error(CRYSTALS, LENGTHS) == pytest.approx(np.sqrt(np.mean((LENGTHS - 3.6) ** 2)))


def test_a_run_starts_from_it_and_tells_it_from_another(checkpoint, tmp_path):
    options = {"data": toy_data(), "predictors": [Model()]}
    found, _ = run(checkpoint, tmp_path / "good", budget=4, **options)
    table = found.ledger.evaluations()
    np.testing.assert_allclose(table["predicted_energy"], table["energy"])
    left = [toy_energy(c) for c in found.ledger.left()]
    assert table["energy"].max() <= min(left)  # the lowest were chosen
    options["predictors"] = [Model(sign=-1.0)]
    other, _ = run(checkpoint, tmp_path / "bad", budget=4, **options)
    assert other.evaluated["energy"].mean() > table["energy"].mean()
    with pytest.raises(ValueError, match="different: predictors"):
        run(checkpoint, tmp_path / "good", budget=4, **options)
    with pytest.raises(ValueError, match="different: predictors"):
        run(checkpoint, tmp_path / "good", budget=4, data=options["data"])


def test_a_run_with_it_goes_on_where_it_stopped(checkpoint, tmp_path):
    options = {"predictors": [Model(0.3)]}
    run(checkpoint, tmp_path / "whole", budget=8, **options)
    run(checkpoint, tmp_path / "parts", budget=4, **options)
    run(checkpoint, tmp_path / "parts", budget=8, **options)
    assert story(tmp_path / "parts") == story(tmp_path / "whole")
    assert Ledger(tmp_path / "whole").rounds()[0]["predictor"]["energy"]["given"]


def test_predictors_that_do_not_fit_are_refused(checkpoint, tmp_path):
    model = Model()
    model.property_name = "gap"
    for predictors, message in (
        ([model], "a predictor of gap is given, but wanted is energy"),
        ([Model(), Model(1.0)], "two predictors of energy"),
    ):
        with pytest.raises(ValueError, match=message):
            run(checkpoint, tmp_path, predictors=predictors)
    judge = ModelOracle(Model())
    with pytest.raises(ValueError, match="who chooses must not be who judges"):
        run(checkpoint, tmp_path, oracle=judge, predictors=[Model()])
    assert not list(tmp_path.iterdir())
    run(checkpoint, tmp_path, oracle=judge, predictors=[Model(0.1)], budget=2)
