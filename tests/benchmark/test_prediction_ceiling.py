"""benchmarks/studies/prediction_ceiling.py: how often one predicted structure can be right."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from pyg_crysdiff.data import Crystal

ROOT = Path(__file__).parents[2]
ROCKSALT = [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]
MOLECULE = [[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]]


@pytest.fixture
def study():
    path = ROOT / "benchmarks" / "studies" / "prediction_ceiling.py"
    spec = importlib.util.spec_from_file_location("prediction_ceiling", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def crystal(numbers, lattice, second=0.5):
    return Crystal(lattice, [[0, 0, 0], [second] * 3], numbers)


def parts():
    """Of three compositions: one structure; two, one known each; three, two of which are equal."""
    return {
        "train": [
            crystal([11, 17], ROCKSALT), crystal([12, 8], MOLECULE, 0.2), crystal([3, 9], ROCKSALT)
        ],
        "val": [crystal([3, 9], ROCKSALT, 0.501)],
        "test": [
            crystal([11, 17], ROCKSALT, 0.499), crystal([12, 8], ROCKSALT),
            crystal([3, 9], MOLECULE, 0.2),
        ],
    }  # fmt: skip


def test_rates_of_three_compositions_by_hand(study):
    rates = study.ceilings(parts(), [0, 1, 2], num_workers=1)
    np.testing.assert_allclose(rates["drawn"], [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(rates["most frequent"], [1, 1 / 2, 0])
    np.testing.assert_allclose(rates["drawn from training crystals"], [1, 0, 0])
    np.testing.assert_allclose(rates["share with one structure"], [1, 0, 0])


def test_chosen_crystals_alone_are_asked_for(study):
    every = study.ceilings(parts(), [0, 1, 2], num_workers=1)
    one = study.ceilings(parts(), [2], num_workers=1)
    assert {name: values.tolist() for name, values in one.items()} == {
        name: [values[2]] for name, values in every.items()
    }


def test_the_script_on_the_demo(study, tmp_path, capsys):
    study.main(["--dataset", "demo", "--num-samples", "5", "--json", str(tmp_path / "c.json")])
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["test"] == 5
    value, low, high = found["drawn"]
    assert 0 < low <= value <= high <= 1
    assert f"drawn                        {value:.3f}" in capsys.readouterr().out
