"""Who judges a benchmark, and what its tables say of the judge and of the data."""

from types import SimpleNamespace

import numpy as np
import pytest

from pyg_crysdiff.benchmark.evaluators import unseen
from pyg_crysdiff.benchmark.optimisation import run_benchmark
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.table import heading
from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.predictor import describe_predictor
from pyg_crysdiff.evaluation.results import Results
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel


def test_the_evaluator_may_not_choose_what_it_judges(tmp_path):
    card = {"property": "formation_energy_per_atom", "held_out_mae": 9.0, "num_held_out": 1}
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    judge = tmp_path / "judge.safetensors"
    PropertyModel(PeriodicDimeNet(config), config, -1.5, 1.0, card).save(judge)
    copy = tmp_path / "copy.safetensors"  # under another name and with another card
    model = PropertyModel.load(judge)
    model.card["source"] = "elsewhere"
    model.save(copy)
    settings = Settings.resolve(
        "demo", out=tmp_path / "run", models=(), draws=2, evaluator=str(judge),
        predictor=str(copy), device="cpu",
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"copy\.safetensors, which chooses, is the evaluator"):
        run_benchmark(settings, progress=False)
    assert not (tmp_path / "run" / "tables").exists()


@pytest.mark.parametrize(
    ("dataset", "judge"),
    [("perov5", "cdvae"), ("carbon24", "cdvae"), ("mp20", "cdvae"), ("demo", "fast"),
     ("mine.csv", "standard")],
)  # fmt: skip
def test_cdvaes_own_evaluators_judge_the_published_sets(dataset, judge):
    assert Settings.resolve(dataset, out="x").evaluator == judge


def test_the_heads_of_tables_and_reports_name_the_judge():
    card = {
        "property": "e", "name": "CDVAE's own evaluator", "source": "a wheel", "sha256": "0" * 64,
        "trained_on": "the official training set", "test_mae": 0.049, "num_test": 120,
    }  # fmt: skip
    settings = {
        "property": "e", "target": 0.0, "thresholds": {"sr5": 1.0}, "thresholds_from": "x",
        "num_train": 5, "num_reference": 3, "evaluator": card,
    }  # fmt: skip
    split = "official, train.csv differs from the published file"
    results = Results.of(
        [], dataset="D", split=split, seed=0, task="optimisation", settings=settings
    )
    lines = heading(results)
    assert split in lines[0]
    assert lines[2] == f"evaluator: {describe_predictor(card)}"
    assert "mean absolute error 0.0490 on 120 test crystals" in lines[2]


@pytest.mark.parametrize(
    ("facts", "title", "values"),
    [
        ({"held_out_mae": 1.0}, "on training crystals, which it never saw", [1.0]),
        ({"held_out_mae": 1.0, "split": "train"}, "on test crystals", [2.0]),
        (
            {"trained_on": "the official training set"},
            "on test crystals, which it never saw",
            [2.0],
        ),
        ({}, "on test crystals", [2.0]),
    ],
)
def test_the_judges_errors_are_drawn_on_crystals_that_it_never_saw(facts, title, values):
    judge = SimpleNamespace(property_name="e", card=facts)
    train, test = (
        [Crystal(np.eye(3), np.zeros((1, 3)), np.array([6]), {"e": v}) for v in (value, np.nan)]
        for value in (1.0, 2.0)
    )
    found, crystals = unseen(judge, train, test)
    assert found == f"The evaluator, {title}"
    assert [c.info["e"] for c in crystals] == values
