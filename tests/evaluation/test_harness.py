import json

import numpy as np
import pytest

from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.cache import scored
from pyg_crysdiff.evaluation.definitions import DEFINITIONS, definition
from pyg_crysdiff.evaluation.harness import Protocol, evaluate
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel
from tests.conftest import make_crystal


class MeanZ:
    """An evaluator whose prediction is the mean atomic number."""

    property_name = "z"

    def predict(self, crystals, **_):
        return np.array(
            [c.atomic_numbers.mean() if isinstance(c, Crystal) and len(c) else np.nan
             for c in crystals]
        )  # fmt: skip


def rock_salt(a=5.64, numbers=(11, 17)):
    lattice = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(lattice, [[0, 0, 0], [0.5, 0.5, 0.5]], numbers)


def options(**changes):
    return {"num_workers": 0, "num_bootstrap": 50, "progress": False, **changes}


def test_counts_of_a_file_with_everything_wrong_in_it():
    bad_cell = Crystal(np.full((3, 3), np.nan), [[0, 0, 0]], [11])
    entries = [
        rock_salt(),
        rock_salt(),
        BrokenEntry(2, "unreadable text"),
        bad_cell,
        Crystal(np.eye(3) * 4, np.zeros((0, 3)), []),
        rock_salt(numbers=(118, 17)),
        rock_salt(numbers=(2, 8)),
        Crystal(np.eye(3) * 4, [[0, 0, 0], [0.01, 0, 0]], [11, 17]),
        rock_salt(numbers=(12, 8), a=4.2),
        Crystal(np.eye(3) * 3, [[0, 0, 0]], [29]),
    ]
    known = rock_salt(numbers=(12, 8), a=4.21)
    known.info["z"] = 10.0
    protocol = Protocol(
        "optimisation", [known], [known] * 3, MeanZ(), target=10.0, thresholds=(9, 10, 14),
        **options(),
    )  # fmt: skip
    found = evaluate(entries, protocol)
    value = {key: estimate.value for key, estimate in found.metrics.items()}
    assert value["struct_valid"] == pytest.approx(0.6)
    assert value["valid"] == pytest.approx(0.4)  # two NaCl, MgO, Cu
    assert value["uniqueness"] == pytest.approx(3 / 4)
    assert value["novelty"] == pytest.approx(3 / 4)
    assert value["sr5_strict"] == 0
    assert value["sr10_strict"] == pytest.approx(0.1)  # MgO
    assert value["sr15_strict"] == pytest.approx(0.3)
    assert value["sr15_strict_unique"] == pytest.approx(0.2)
    assert value["sr15_best10"] == 1
    assert value["target_mae"] == pytest.approx((4 + 4 + 0 + 19) / 4)
    assert set(found.definitions) == set(found.metrics)
    table = found.table
    assert len(table) == 10
    assert table.loc[2, "reason"] == "unreadable: unreadable text"
    assert table.loc[6, "reason"] == "composition"


def test_novelty_of_the_first_ones_only():
    entries = [rock_salt(numbers=(12, 8)), BrokenEntry(1, "x"), rock_salt(), rock_salt()]
    known = [rock_salt(numbers=(12, 8))]
    found = evaluate(entries, Protocol(train=known, novelty_of=2, **options()))
    assert found.metrics["novelty"].value == 0.5
    assert found.table["novel"].isna().tolist() == [False, True, False, True]
    whole = evaluate(entries, Protocol(train=known, **options()))
    assert whole.metrics["novelty"].value == pytest.approx(2 / 3)
    assert whole.metrics["uniqueness"] == found.metrics["uniqueness"]


def test_no_valid_sample_is_a_result_not_an_error():
    protocol = Protocol("generation", [rock_salt()], [rock_salt()], **options())
    found = evaluate([BrokenEntry(0, "x"), BrokenEntry(1, "y")], protocol)
    assert found.metrics["valid"].value == 0
    assert np.isnan(found.metrics["density_emd"].value)
    with pytest.raises(ValueError, match="no samples"):
        evaluate([], protocol)


def test_the_reference_set_scores_perfectly_against_itself(rng):
    crystals = [rock_salt(a) for a in (5.0, 5.5, 6.5)] + [rock_salt(4.2, (12, 8))]
    protocol = Protocol(
        "generation", crystals, cutoffs={"a": (0.2, 4.0), "b": (1e-6, 1e-6)}, **options()
    )
    found = evaluate(crystals, protocol).metrics
    for key in ("cov_recall", "cov_precision", "cov_recall_joint", "cov_precision_joint@b"):
        assert found[key].value == 1
    assert found["density_emd"].value == 0
    assert found["amsd_recall"].value == pytest.approx(0, abs=1e-12)
    protocol = Protocol("reconstruction", crystals, **options())
    found = evaluate(crystals, protocol).metrics
    assert found["match_rate"].value == 1
    assert found["rmse"].value == pytest.approx(0, abs=1e-6)


def test_percentiles_of_the_training_set_stand_in_for_constants():
    train = []
    for z in range(101):
        crystal = rock_salt()
        crystal.info["z"] = float(z)
        train.append(crystal)
    protocol = Protocol("optimisation", [], train, MeanZ(), **options())
    assert protocol.success_thresholds() == (5.0, 10.0, 15.0)


def test_bad_protocols():
    with pytest.raises(ValueError, match="task"):
        Protocol("optimization")
    with pytest.raises(ValueError, match="evaluator"):
        Protocol("optimisation")
    with pytest.raises(ValueError, match="reference"):
        Protocol("reconstruction")


def test_results_round_trip(tmp_path, rng):
    crystals = [make_crystal(rng, 2)]
    found = evaluate(crystals, Protocol(**options()))
    results = Results("d", "official", 0, rows=[Row("m", "measured", "s", found.metrics)])
    results.save(tmp_path / "r.json")
    again = Results.load(tmp_path / "r.json")
    assert again.rows[0].metrics["valid"] == found.metrics["valid"]
    assert "NaN" not in (tmp_path / "r.json").read_text()


def test_every_metric_key_has_a_definition():
    assert "cut-offs of symat" in definition("cov_recall@symat").lower()
    assert all(len(text) > 20 for text in DEFINITIONS.values())


def test_fields_of_a_protocol_as_keywords():
    known = rock_salt(numbers=(12, 8))
    entries = [rock_salt(), known]
    by_fields = evaluate(entries, train=[known], **options())
    by_protocol = evaluate(entries, Protocol(train=[known], **options()))
    assert by_fields.metrics == by_protocol.metrics
    assert by_fields.metrics["novelty"].value == pytest.approx(0.5)
    with pytest.raises(TypeError, match="not both; got train"):
        evaluate(entries, Protocol(), train=[known])
    with pytest.raises(TypeError, match="colour"):
        evaluate(entries, colour="red")
    with pytest.raises(ValueError, match="task must be one of"):
        evaluate(entries, task="magic")


def test_evaluations_are_kept_for_evaluators_that_say_who_they_are(tmp_path):
    class Counting(MeanZ):
        calls = 0

        def predict(self, crystals, **_):
            self.calls += 1
            return super().predict(crystals)

    nameless, named, other = Counting(), Counting(), Counting()
    named.identity, other.identity = ["mean z", 1], ["mean z", 2]
    entries = [rock_salt(), rock_salt(numbers=(12, 8))]
    for evaluator, calls in ((nameless, 2), (named, 1), (other, 1)):
        protocol = Protocol("optimisation", evaluator=evaluator, **options())
        first, second = (scored(tmp_path / "row", entries, protocol) for _ in range(2))
        assert evaluator.calls == calls
        assert {k: e.value for k, e in first.metrics.items()} == pytest.approx(
            {k: e.value for k, e in second.metrics.items()}, nan_ok=True
        )


def test_the_key_of_our_own_evaluators_is_as_ever():
    """Evaluations that earlier versions kept are still found."""
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    model = PropertyModel(PeriodicDimeNet(config), config, -3.0, 2.0, {"property": "e"})
    assert json.dumps(model.identity) == '[{"property": "e"}, -3.0, 2.0]'
