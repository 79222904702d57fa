"""Features and ensemble: what does not matter to them, and what they get right."""

import numpy as np
import pytest
from scipy.stats import norm

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.design.agreement import agreement
from pyg_crysdiff.design.ensemble import Ensemble
from pyg_crysdiff.design.failing import AnswerChance
from pyg_crysdiff.design.features import features
from pyg_crysdiff.design.objectives import Objective
from pyg_crysdiff.design.prediction import Prediction
from pyg_crysdiff.design.sharing import SharedValue, electron_numbers, shared_value
from pyg_crysdiff.design.surrogate import Surrogate


def perovskite(a: int, b: int, x: int, length: float = 4.0) -> Crystal:
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return Crystal(np.eye(3) * length, frac, np.array([a, b, x, x, x]))


def test_features_know_nothing_of_order_cell_or_place():
    crystal = perovskite(38, 22, 8)
    order = np.array([3, 0, 4, 1, 2])
    turned, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = turned * np.sign(np.linalg.det(turned))
    others = [
        Crystal(crystal.lattice, crystal.frac_coords[order], crystal.atomic_numbers[order]),
        Crystal(crystal.lattice @ turned, crystal.frac_coords, crystal.atomic_numbers),
        Crystal(crystal.lattice, (crystal.frac_coords + 0.3) % 1, crystal.atomic_numbers),
        Crystal(
            np.diag([1, 1, 2]) @ crystal.lattice,
            np.vstack([crystal.frac_coords, crystal.frac_coords + np.eye(3)[2]]) / [1, 1, 2],
            np.tile(crystal.atomic_numbers, 2),
        ),
        Crystal(
            np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]) @ crystal.lattice,
            crystal.frac_coords @ np.linalg.inv(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])),
            crystal.atomic_numbers,
        ),
    ]
    rows = features([crystal, *others], num_workers=1)
    np.testing.assert_allclose(rows[1:], rows[:1].repeat(len(others), 0), atol=1e-6)


def test_features_tell_who_sits_where():
    """A and B of a perovskite may be swapped in the formula, not in the crystal."""
    rows = features([perovskite(38, 22, 8), perovskite(22, 38, 8)], num_workers=1)
    assert np.abs(rows[0, 132:] - rows[1, 132:]).max() > 0.1
    np.testing.assert_allclose(rows[0, :132], rows[1, :132])


def test_no_features_of_what_is_no_crystal():
    near = Crystal(np.eye(3) * 4, np.array([[0, 0, 0], [0.01, 0, 0]]), np.array([8, 8]))
    rows = features([near, perovskite(38, 22, 8)], num_workers=1)
    assert np.isnan(rows[0]).all()
    assert np.isfinite(rows[1]).all()


def wave(rows: np.ndarray) -> np.ndarray:
    return np.sin(rows[:, 0]) + 0.5 * rows[:, 1] + 0.3 * rows[:, 2] * rows[:, 0]


@pytest.fixture(scope="module")
def learnt():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 3)).repeat(8, 1)  # any half of the features will do
    return Ensemble.fit(rows, wave(rows[:, ::8]) + rng.normal(0, 0.1, 200), seed=0)


def test_ensemble_predicts_and_knows_how_well(learnt):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(300, 3)).repeat(8, 1)
    values = wave(rows[:, ::8]) + rng.normal(0, 0.1, 300)
    mean, std = learnt.predict(rows)
    found = agreement(values, mean, std)
    assert found["mae"] < 0.25 * np.abs(values - values.mean()).mean()
    assert 0.65 < found["coverage"]["80%"] < 0.95
    far = learnt.predict(rows * 3)[1].mean()
    assert far > 1.5 * std.mean()  # less certain where nothing was seen


def test_ensemble_is_the_mixture_of_its_members(learnt):
    rows = np.random.default_rng(3).normal(size=(5, 24))
    standard = np.clip((rows - learnt.centre) / learnt.spread, -5, 5)
    found = [p.predict(standard[:, seen], return_std=True) for seen, p in learnt.members]
    means, stds = np.array([m for m, _ in found]), np.array([s for _, s in found])
    mean, std = learnt.predict(rows)
    np.testing.assert_allclose(mean, means.mean(0))
    second = (stds**2 + means**2).mean(0)  # of the mixture's moments
    np.testing.assert_allclose(std, learnt.scale * np.sqrt(second - mean**2), rtol=1e-6)


def test_same_seed_same_ensemble_and_wild_values_do_not_rule():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(60, 2)).repeat(4, 1)
    values = rows[:, 0].copy()
    first, second = (Ensemble.fit(rows, values, seed=3).predict(rows) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    values[7] = 1e6
    wild = Ensemble.fit(rows, values, seed=3).predict(rows)[0]
    assert np.median(np.abs(wild - rows[:, 0])) < 0.5


def gaps(count: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, electrons and a number that is 0 for most, as the gap of metals."""
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(count, 2)).repeat(8, 1)
    electrons = np.column_stack([np.zeros(count), rng.integers(0, 2, count)])
    has_gap = (electrons[:, 1] == 0) & (rows[:, 0] > 0.8)
    return rows, electrons, np.where(has_gap, 2.0 + rows[:, 8], 0.0)


def test_a_value_that_most_crystals_share_cuts_nothing():
    """Nine tenths are 0, and the quartiles with them."""
    rows, _, values = gaps()
    assert np.quantile(values, 0.75) == 0
    mean, _ = Ensemble.fit(rows, values, seed=0).predict(rows)
    assert mean[values > 0].mean() > 0.5


def test_a_value_that_most_crystals_share_is_told_apart():
    rows, electrons, values = gaps()
    assert shared_value(values) == 0.0
    found = SharedValue.fit(rows[:400], electrons[:400], values[:400], 0.0, seed=1)
    predicted = found.predict(rows[400:], electrons[400:])
    other = values[400:] > 0
    assert predicted.share[~other].mean() > 0.9
    assert predicted.share[other].mean() < 0.4
    off = np.abs(predicted.mean - values[400:])[other]
    assert off.mean() < 0.3 * values[400:][other].std()
    plain = Ensemble.fit(rows[:400], values[:400], seed=1).predict(rows[400:])
    window = Objective("gap", low=2.5, high=9.0)
    best = np.argsort(-predicted.chance(window))[:8]
    alone = np.argsort(-Prediction(*plain).chance(window))[:8]
    assert window.met(values[400:][best]).mean() > window.met(values[400:][alone]).mean() + 0.2
    assert found.facts["auc"] > 0.9
    assert found.facts["share"] == round(float(np.mean(values[:400] == 0)), 4)


def test_which_value_counts_as_shared():
    rng = np.random.default_rng(7)
    others = rng.normal(size=50)
    assert shared_value(np.append(np.zeros(30), others)) == 0.0
    assert shared_value(np.append(np.zeros(15), others)) is None  # too few
    assert shared_value(np.append(np.zeros(100), others[:19])) is None  # too few others
    assert shared_value(np.empty(0)) is None


def test_electrons_by_hand():
    crystals = [perovskite(38, 22, 8), perovskite(11, 73, 8), perovskite(57, 27, 7)]
    left, odd = electron_numbers(crystals).T
    # SrTiO3 and NaTaO3 are balanced, 84 and 108 electrons; LaCoN3: +3 and at most +3 against -9
    np.testing.assert_allclose(left, [0, 0, 3 / 5])
    np.testing.assert_array_equal(odd, [0, 0, (57 + 27 + 21) % 2])
    assert electron_numbers([]).shape == (0, 2)


def test_surrogate_tells_a_shared_value_apart():
    crystals = [perovskite(a, b, 8, 3.8 + 0.01 * a) for a in range(19, 57) for b in (21, 22)]
    gap = np.array([2.0 + c.lattice[0, 0] if c.atomic_numbers[1] == 22 else 0.0 for c in crystals])
    found = Surrogate.fit(crystals, {"gap": gap}).predict(crystals)["gap"]
    assert found.shared == 0.0
    assert (found.share > 0.5).tolist() == (gap == 0).tolist()


def test_agreement_by_hand():
    mean, std = np.zeros(4), np.ones(4)
    values = np.array([0.1, -1.0, 1.5, 3.0])
    found = agreement(values, mean, std)
    assert found["mae"] == pytest.approx(5.6 / 4)
    assert found["rmse"] == pytest.approx(np.sqrt((0.01 + 1 + 2.25 + 9) / 4))
    assert norm.ppf(0.75) < 1.0 < norm.ppf(0.9) < 1.5 < norm.ppf(0.975) < 3.0
    assert found["coverage"] == {"50%": 0.25, "80%": 0.5, "95%": 0.75}
    assert agreement(values * np.nan, mean, std)["mae"] is None


def test_surrogate_of_several_numbers():
    crystals = [perovskite(a, 22, 8, 3.8 + 0.01 * i) for i, a in enumerate(range(19, 57))]
    radius = np.array([c.lattice[0, 0] for c in crystals])
    values = {"a": radius, "few": np.where(np.arange(len(crystals)) < 5, 1.0, np.nan)}
    found = Surrogate.fit(crystals, values, objectives=[Objective("a", high=4.0)])
    predicted = found.predict([*crystals[:3], Crystal(np.eye(3), np.zeros((1, 3)), np.array([8]))])
    assert set(predicted) == {"a"}
    mean, std = predicted["a"].overall()
    np.testing.assert_allclose(mean[:3], radius[:3], atol=0.05)
    assert np.isfinite(std[:3]).all()
    facts = found.facts()
    assert facts["few"]["known"] == 5
    assert "no predictor" in facts["few"]["problem"]
    assert facts["a"]["known"] == len(crystals)


def test_surrogate_keeps_the_nearest_of_many(monkeypatch):
    monkeypatch.setattr("pyg_crysdiff.design.surrogate.MOST", 24)
    crystals = [perovskite(a, 22, 8, 3.8 + 0.01 * i) for i, a in enumerate(range(19, 57))]
    values = np.arange(len(crystals), dtype=float)
    rows: dict = {}
    Surrogate.fit(crystals, {"a": values}, objectives=[Objective("a", low=30.0)], rows=rows)
    seen = {c.digest() for c in crystals if c.digest() in rows}
    assert len(seen) == 24
    assert {c.digest() for c in crystals[-12:]} <= seen


def test_what_fails_is_learnt():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(300, 6))
    fails = rows[:, 0] > 0.5
    found = AnswerChance.fit(rows[:200][~fails[:200]], rows[:200][fails[:200]], seed=1)
    chances = found.predict(rows[200:])
    assert chances[~fails[200:]].mean() > 0.7
    assert chances[fails[200:]].mean() < 0.55
    assert (AnswerChance.fit(rows[:200], rows[:9]).predict(rows) == 1).all()  # too few to learn
