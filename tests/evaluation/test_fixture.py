"""The harness against values of the libraries, one by one (scripts/make_metric_fixture.py)."""

import json
from pathlib import Path

import numpy as np
import pytest

from pyg_crysdiff.data import Crystal
from pyg_crysdiff.evaluation.harness import Protocol, evaluate

FIXTURE = json.loads((Path(__file__).parent / "fixture.json").read_text(encoding="utf-8"))
COUNTS = {
    "struct_valid", "cov_recall", "cov_precision", "cov_recall_joint", "cov_precision_joint",
    "match_rate", "metre",
}  # fmt: skip


def crystals(key):
    return [Crystal(*(np.array(v) for v in entry.values())) for entry in FIXTURE[key]]


@pytest.fixture(scope="module")
def found():
    common = {"reference": crystals("reference"), "num_bootstrap": 0, "progress": False}
    samples = crystals("samples")
    generation = evaluate(samples, Protocol(cutoffs={"own": tuple(FIXTURE["cutoffs"])}, **common))
    reconstruction = evaluate(samples, Protocol(task="reconstruction", **common))
    return generation, reconstruction


def test_every_metric_equals_the_value_of_the_libraries(found):
    metrics = {**found[1].metrics, **found[0].metrics}
    checked = 0
    for key, expected in FIXTURE["expected"].items():
        if not key.endswith("_each"):
            # densities: the atomic masses of pymatgen 2024 and 2026 differ in the ninth digit
            tolerance = 1e-15 if key in COUNTS else 1e-8
            assert metrics[key].value == pytest.approx(expected, rel=tolerance, abs=0), key
            checked += 1
    assert checked == 14


def test_every_row_equals_the_value_of_the_libraries(found):
    assert found[0].table["struct_valid"].tolist() == FIXTURE["expected"]["struct_valid_each"]
    assert not all(FIXTURE["expected"]["struct_valid_each"])
    rms = np.array([np.nan if v is None else v for v in FIXTURE["expected"]["rms_each"]])
    assert np.isfinite(rms).any()
    assert np.isnan(rms).any()
    np.testing.assert_allclose(found[1].table["rms"], rms, rtol=1e-9)
