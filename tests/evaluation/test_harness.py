import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.data import BrokenEntry, Crystal
from pyg_crysdiff.evaluation.cache import scored
from pyg_crysdiff.evaluation.definitions import DEFINITIONS, definition
from pyg_crysdiff.evaluation.harness import Protocol, evaluate, valid_crystals
from pyg_crysdiff.evaluation.metrics import set_metrics, success_rates
from pyg_crysdiff.evaluation.results import Results, Row
from pyg_crysdiff.evaluation.table import evenly
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
    assert value["sr15_unique"] == pytest.approx(0.2)
    assert value["sr15_all"] == pytest.approx(0.6)  # He-O, no cell, atoms that overlap too
    assert not any("best10" in key for key in value)  # independent samples have no starts
    starts = evaluate(entries, replace(protocol, num_starts=1))
    assert starts.metrics["sr15_best10"].value == 1
    assert starts.metrics["sr5_best10"].value == 0
    assert value["target_mae"] == pytest.approx((4 + 4 + 0 + 19) / 4)
    assert set(found.definitions) == set(found.metrics)
    table = found.table
    assert len(table) == 10
    assert table.loc[2, "reason"] == "unreadable: unreadable text"
    assert table.loc[6, "reason"] == "composition"


def test_novelty_of_some_that_are_spread_over_all():
    mgo, nacl = rock_salt(numbers=(12, 8)), rock_salt()
    entries = [mgo, BrokenEntry(1, "x"), mgo, nacl, nacl]
    known = [rock_salt(numbers=(12, 8))]
    found = evaluate(entries, Protocol(train=known, novelty_of=2, **options()))
    assert found.metrics["novelty"].value == 0.5
    assert found.table["novel"].isna().tolist() == [False, True, True, False, True]
    whole = evaluate(entries, Protocol(train=known, **options()))
    assert whole.metrics["novelty"].value == pytest.approx(2 / 4)
    assert whole.metrics["uniqueness"] == found.metrics["uniqueness"]


def test_uniqueness_of_the_first_ones_only():
    entries = [rock_salt(), BrokenEntry(1, "x"), rock_salt(), rock_salt(numbers=(12, 8))]
    protocol = Protocol("optimisation", evaluator=MeanZ(), thresholds=(20, 20, 20), **options())
    found = evaluate(entries, replace(protocol, uniqueness_of=2))
    assert found.metrics["uniqueness"].value == 0.5
    assert found.table["first"].isna().tolist() == [False, True, False, True]
    assert found.metrics["sr5_strict"].value == 0.75
    assert "sr5_unique" not in found.metrics  # what was not compared may be a repetition
    whole = evaluate(entries, replace(protocol, uniqueness_of=3))
    assert whole.metrics["uniqueness"].value == pytest.approx(2 / 3)
    assert whole.metrics["sr5_unique"].value == 0.5


def test_indices_spread_evenly():
    assert evenly(5, None).tolist() == [0, 1, 2, 3, 4]
    assert evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly(10, 3).tolist() == [0, 3, 6]
    assert evenly(0, 3).tolist() == []


def test_novelty_against_all_known_crystals():
    parts = ["train", np.nan, "", "test"]  # an empty text is NaN once it was a CSV file
    table = pd.DataFrame({"valid": [True, True, True, False], "first": True, "known_part": parts})
    found = set_metrics(table, Protocol(**options()))
    assert found["novelty_known"].value == pytest.approx(2 / 3)
    assert "any part" in definition("novelty_known")
    table["known_part"] = "val"
    assert set_metrics(table, Protocol(**options()))["novelty_known"].value == 0


def test_success_rates_by_hand():
    """Eight crystals: validity, predictions, repetitions and their rates, counted by hand."""
    table = pd.DataFrame(
        [
            (True, 1.0, 0),  # succeeds by every definition
            (True, 1.0, 0),  # a repetition
            (False, 1.0, np.nan),  # not valid
            (True, np.nan, 3),  # no prediction
            (False, np.nan, np.nan),  # neither
            (True, 2.0, 3),  # at the limit of SR10; the first of its kind has no prediction
            (True, 2.5, 6),
            (True, -np.inf, 7),  # no number
        ],
        columns=["valid", "predicted", "kind"],
    )
    protocol = Protocol(
        "optimisation", evaluator=MeanZ(), thresholds=(1.5, 2.0, 9.0), num_starts=4, **options()
    )
    found = {key: estimate.value for key, estimate in success_rates(table, protocol).items()}
    wanted = {
        "sr5_all": 3, "sr5_strict": 2, "sr5_unique": 1,
        "sr10_all": 4, "sr10_strict": 3, "sr10_unique": 2,
        "sr15_all": 5, "sr15_strict": 4, "sr15_unique": 3,
    }  # fmt: skip
    # Two candidates of each of four starts: (0, 4), (1, 5), (2, 6), (3, 7).
    best = {"sr5_best10": 2 / 4, "sr10_best10": 2 / 4, "sr15_best10": 3 / 4}
    assert found == {key: count / 8 for key, count in wanted.items()} | best
    assert set(found) <= set(DEFINITIONS)
    free = success_rates(table.drop(columns="kind"), replace(protocol, num_starts=None))
    assert set(free) == {f"sr{p}_{kind}" for p in (5, 10, 15) for kind in ("all", "strict")}
    few = success_rates(table, replace(protocol, num_starts=9))
    assert not any("best10" in key for key in few)


def test_results_of_version_0_1_have_the_names_of_today(tmp_path):
    raw = {
        "dataset": "d", "split": "s", "seed": 0,
        "rows": [{
            "method": "cds", "kind": "measured", "source": "this run",
            "metrics": {
                "sr5_strict_unique": {"value": 0.25, "low": None, "high": None},
                "sr5_best10": {"value": 1.0, "low": None, "high": None},
            },
        }],
        "definitions": {"sr5_strict_unique": "text", "sr5_best10": "other text"},
    }  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(raw))
    found = Results.load(tmp_path / "results.json")
    assert found.rows[0].metrics["sr5_unique"].value == 0.25
    assert found.definitions["sr5_unique"] == "text"
    assert list(found.rows[0].shown()) == ["sr5_unique"]  # its ten were independent draws


def test_every_rate_names_its_source():
    assert "2406.09263" in definition("sr5_all")
    assert "OptEval" in definition("sr5_best10")
    assert "training part" in definition("novelty")


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


def test_exact_reconstructions_have_a_distance_of_zero_and_no_interval():
    crystals = [rock_salt(), rock_salt(a=5.0), rock_salt(a=5.2)]
    metrics = evaluate(crystals, Protocol("reconstruction", **options(reference=crystals))).metrics
    assert metrics["match_rate"].low < 1  # of a proportion, which three crystals say little of
    for name in ("rmse", "crmse"):
        assert metrics[name].high == pytest.approx(metrics[name].value, abs=1e-6)


def test_rows_have_the_names_of_their_entries(tmp_path):
    named = [replace(rock_salt(), info={"material_id": name}) for name in ("007", "NA")]
    entries = [*named, BrokenEntry(2, "damaged", "c.cif")]
    for _ in range(2):  # computed, then read
        table = scored(tmp_path / "row", entries, Protocol(**options())).table
        assert table["name"].tolist() == ["007", "NA", "c.cif"]
    other = [replace(rock_salt(), info={"material_id": name}) for name in ("a", "b")]
    table = scored(tmp_path / "row", [*other, entries[2]], Protocol(**options())).table
    assert table["name"].tolist() == ["a", "b", "c.cif"]


def test_a_formula_that_reads_like_a_missing_value_is_kept(tmp_path):
    entries = [rock_salt(numbers=(11, 7))]  # NaN, sodium nitride
    first, second = (scored(tmp_path / "row", entries, Protocol(**options())) for _ in range(2))
    assert first.table["formula"].tolist() == second.table["formula"].tolist() == ["NaN"]


def test_the_key_of_our_own_evaluators_is_as_ever():
    """Evaluations that earlier versions kept are still found."""
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    model = PropertyModel(PeriodicDimeNet(config), config, -3.0, 2.0, {"property": "e"})
    assert json.dumps(model.identity) == '[{"property": "e"}, -3.0, 2.0]'


def test_validity_by_the_structure_alone_does_not_ask_for_neutral_compositions(tmp_path):
    samples = [rock_salt(numbers=(11, 10)), rock_salt(), rock_salt(a=0.5)]  # charged, good, crushed
    usual, lenient = options(), options(validity="structure")
    found = {
        name: scored(tmp_path / "s", samples, Protocol(**fields))  # one file: kept by validity too
        for name, fields in (("cdvae", usual), ("structure", lenient))
    }
    assert found["cdvae"].table["valid"].tolist() == [False, True, False]
    assert found["structure"].table["valid"].tolist() == [True, True, False]
    assert found["structure"].metrics["uniqueness"].value == 1
    assert "not asked" in found["structure"].definitions["valid"]
    assert "not asked" not in found["cdvae"].definitions["valid"]
    with pytest.raises(ValueError, match="validity must be one of"):
        Protocol(validity="none")


def test_the_crystals_that_judges_relax_are_those_that_an_evaluation_calls_valid():
    entries = [
        BrokenEntry(0, "unreadable text"),
        rock_salt(),
        rock_salt(numbers=(2, 8)),
        Crystal(np.eye(3) * 4, [[0, 0, 0], [0.01, 0, 0]], [11, 17]),
    ]
    for validity, expected in (("cdvae", [1]), ("structure", [1, 2])):
        found = valid_crystals(entries, validity=validity, num_workers=0)
        assert [i for i, e in enumerate(entries) if any(e is c for c in found)] == expected
        assert len(found) == len(expected)
        table = evaluate(entries, Protocol(validity=validity, **options())).table
        assert np.flatnonzero(table["valid"]).tolist() == expected
