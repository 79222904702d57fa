"""benchmarks/studies/training_curve.py: checkpoints along a training, judged and drawn."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pyg_crysdiff.training import fit

ROOT = Path(__file__).parents[2]
TINY = [
    "data=demo", "train_fraction=0.05", "denoiser.dim=8", "denoiser.num_blocks=1",
    "denoiser.num_waves=2", "denoiser.pair_hidden=4", "process.num_steps=5", "max_epochs=3",
    "validate_every=1", "keep_every=2", "device=cpu", "precision=32-true",
]  # fmt: skip


class Evaluator:
    """Says the mean atomic number; every second crystal is beyond the limits."""

    property_name, card = "formation_energy_per_atom", {"name": "stub"}

    def predict(self, crystals, progress=False):
        return np.array([-9.0 if k % 2 else 9.0 for k in range(len(crystals))])


@pytest.fixture
def study(monkeypatch):
    path = ROOT / "benchmarks" / "studies" / "training_curve.py"
    spec = importlib.util.spec_from_file_location("training_curve", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "training_curve", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "property_model", lambda *_: Evaluator())
    return module


def test_curve_of_a_run(tmp_path, study, monkeypatch):
    fit(TINY, tmp_path / "run", progress=False)
    words = [str(tmp_path / "run"), "--dataset", "demo", "--num-samples", "4"]
    words += ["--steps", "3", "--out", str(tmp_path / "curve")]
    study.main(words)
    result = json.loads((tmp_path / "curve" / "training_curve.json").read_text())
    assert [row["epochs"] for row in result["rows"]] == [2, 3]
    seen = [row["crystals_seen"] for row in result["rows"]]
    assert seen[1] == 1.5 * seen[0]
    for row in result["rows"]:
        assert row["minimum/sr5_all"][0] == row["minimum/sr15_all"][0] == 0.5
        assert 0 <= row["free/valid"][0] <= 1
        assert row["sampler"]["guidance"] == 1
    assert [x for x, _ in result["losses"]["run"]["val"]] == [seen[0] / 2, *seen]
    assert (tmp_path / "curve" / "training_curve.png").stat().st_size > 1000
    # A last checkpoint that was kept as well is one point.
    (tmp_path / "run" / "kept" / "epoch-000002.safetensors").rename(
        tmp_path / "run" / "kept" / "epoch-000003.safetensors"
    )
    assert len(study.points([tmp_path / "run"])) == 1
    (tmp_path / "run" / "kept" / "epoch-000003.safetensors").rename(
        tmp_path / "run" / "kept" / "epoch-000002.safetensors"
    )
    # Called again: nothing is sampled or judged anew.
    monkeypatch.setattr(study, "draw", None)
    study.main(words)
    assert json.loads((tmp_path / "curve" / "training_curve.json").read_text()) == result


def test_points_and_cards(tmp_path, study):
    assert study.points([Path("a.safetensors")]) == [
        study.Point("checkpoints", Path("a.safetensors"))
    ]
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        study.points([tmp_path])
    assert study.crystals_seen({"epoch": 9, "num_train": 100}) == 1000  # of an older version
    assert study.crystals_seen({"epoch": 9, "num_train": 100, "crystals_seen": 900}) == 900
