"""Structure prediction: rows of relaxed candidates, with a stub in the place of CHGNet."""

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.benchmark import prediction, relaxed_candidates
from pyg_crysdiff.benchmark.names import check_names
from pyg_crysdiff.benchmark.prediction import formula_of, run_prediction
from pyg_crysdiff.benchmark.relaxed_candidates import Relaxation, lowest
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.table import text_table
from pyg_crysdiff.data import Crystal, read_crystals
from pyg_crysdiff.diffusion.sampler import Sampler
from pyg_crysdiff.evaluation.candidates import CandidateDistances
from pyg_crysdiff.relaxation import Relaxation as Record
from tests.conftest import make_crystal

TINY = (
    "denoiser.dim=8", "denoiser.num_blocks=1", "denoiser.num_waves=2", "denoiser.pair_hidden=4",
    "max_epochs=1", "process.num_steps=20", "batch_size=128",
)  # fmt: skip


@pytest.fixture
def with_chgnet(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: name == "chgnet" or find(name, *more)
    )


def record(crystal, energy):
    """What a relaxation leaves; nothing where the energy is NaN."""
    if np.isnan(energy):
        return Record.failed("a test", "toy 1")
    return Record(crystal, energy, 0.0, 1, True, 0.0, 0.0, 0.0, 0.0, "", "toy 1")


def _settings(folder, **changes):
    settings = Settings.resolve(
        "demo", out=folder, models=("cds",), num_samples=3, candidates=2,
        sampler=Sampler(steps=3), device="cpu",
    )  # fmt: skip
    return replace(settings, overrides=TINY, budget_minutes=5, **changes)


def test_relaxed_candidates_are_rows_of_their_own(tmp_path, monkeypatch, with_chgnet):
    settings = _settings(tmp_path, relax="chgnet", relax_steps=7)
    known = settings.load("test").crystals()
    truth = [known[k] for k in settings.chosen(len(known))]
    asked = []

    def stub(crystals, judge, settings, *, cache_dir, progress):
        """Leave the true crystal of each second candidate, of a low energy; fail at one first."""
        asked.append((judge.name, settings.steps, cache_dir))
        order = {formula_of(c): c for c in truth}
        out = []
        for i, crystal in enumerate(crystals):
            if i < 3:
                out.append(record(crystal, np.nan if i == 1 else -1.0))
            else:
                out.append(record(order[formula_of(crystal)], -5.0 + i))
        return out

    monkeypatch.setattr(relaxed_candidates, "relax", stub)
    monkeypatch.setattr(relaxed_candidates, "structural_problem", lambda crystal: None)
    said = []
    results = run_prediction(settings, said.append, progress=False)
    names = ["cds", "cds, most agreed of 2", "cds, relaxed with CHGNet",
             "cds, lowest energy of 2, relaxed"]  # fmt: skip
    assert [row.method for row in results.rows] == names
    drawn, _, both, chosen = (row.metrics for row in results.rows)
    assert both["match_rate_any_struct"].value == 1
    assert both["rmse_any_struct"].value == pytest.approx(0, abs=1e-6)
    assert both["match_rate_struct"] == drawn["match_rate_struct"]
    # -5 + 3, + 4 and + 5: the last true crystal lies above its first candidate
    assert chosen["match_rate_struct"].value == pytest.approx(
        (2 + drawn_match(drawn, tmp_path)) / 3
    )
    assert not any("_any" in key for key in chosen)  # one answer for each composition
    assert asked == [("chgnet", 7, tmp_path / "relaxations")]
    as_drawn, agreed, _, row = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert "relaxed_with" not in as_drawn["details"]
    assert "candidates" not in as_drawn["details"]
    assert agreed["details"]["candidates"] == row["details"]["candidates"] == 2
    assert "constraints composition given" in text_table(results)
    assert "chosen of 2" in text_table(results)
    assert row["details"]["left_as_drawn"] == 1
    assert row["details"]["relaxed_with"] == "CHGNet"
    assert row["details"]["relax_steps"] == 7
    assert row["details"]["steps"] == 3
    assert "lowest energy of 2" in text_table(results)
    file = tmp_path / "samples" / "cds-relaxed with CHGNet" / "samples.extxyz"
    assert [formula_of(c) for c in read_crystals(file)] == [formula_of(c) for c in truth] * 2


def drawn_match(metrics, folder):
    """Whether the first candidate of the last composition matched as it was drawn."""
    table = pd.read_csv(folder / "tables" / "cds.csv")
    return int(np.isfinite(table["candidate_1"].iloc[-1]))


def test_the_candidate_that_most_others_match_is_chosen(tmp_path, monkeypatch):
    own = np.array([[np.nan, 0.1, 0.2], [0.3, np.nan, 0.4]])
    pairs, others = np.empty((0, 2), dtype=np.int64), np.empty((2, 0))
    monkeypatch.setattr(
        prediction, "candidate_distances", lambda *_, **__: CandidateDistances(own, pairs, others)
    )
    monkeypatch.setattr(prediction, "agreement", lambda *_, **__: np.array([[0, 1, 1], [1, 1, 0]]))
    drawn, agreed = run_prediction(_settings(tmp_path), progress=False).rows
    assert agreed.metrics["rmse_struct"].value == pytest.approx((0.3 + 0.1 + 0.2) / 3)
    assert drawn.metrics["rmse_struct"].value == pytest.approx((0.1 + 0.2) / 2)
    assert not any("_any" in key for key in agreed.metrics)


def test_one_candidate_has_no_lowest_of_several(tmp_path, monkeypatch, with_chgnet):
    settings = _settings(tmp_path, relax="chgnet", candidates=1)
    monkeypatch.setattr(
        relaxed_candidates, "relax", lambda crystals, *_, **__: [record(c, 0.0) for c in crystals]
    )
    results = run_prediction(settings, progress=False)
    assert [row.method for row in results.rows] == ["cds", "cds, relaxed with CHGNet"]
    assert str(results.rows[0].metrics) == str(results.rows[1].metrics)  # NaN equals NaN


def test_invalid_candidates_are_not_relaxed_and_stay_as_drawn(tmp_path, monkeypatch, with_chgnet):
    rng = np.random.default_rng(0)
    sound = [Crystal(np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]) for _ in range(2)]
    close = Crystal(np.eye(3) * 4, [[0, 0, 0], [0.01, 0, 0]], [11, 17])
    asked = []

    def stub(crystals, *_, **__):
        asked.extend(crystals)
        return [record(make_crystal(rng, 2), -float(len(asked))) for _ in crystals]

    monkeypatch.setattr(relaxed_candidates, "relax", stub)
    relaxation = Relaxation.of(_settings(tmp_path, relax="chgnet"))
    parts, energies, facts = relaxation.run([[sound[0], close], [close, sound[1]]], "x", False)
    assert asked == sound
    np.testing.assert_array_equal(np.isnan(energies), [[False, True], [True, False]])
    assert parts[0][1].digest() == parts[1][0].digest() == close.digest()
    assert parts[1][1].digest() != sound[1].digest()
    assert facts["left_as_drawn"] == 2


def test_the_lowest_energy_is_chosen_for_each_composition():
    energies = np.array([[-1.0, np.nan, np.nan], [-2.0, -1.0, np.nan]])
    assert lowest(energies).tolist() == [1, 1, 0]


def test_without_chgnet_nothing_is_trained_and_the_message_names_the_extra(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "chgnet" else find(name, *more),
    )
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pyg_crysdiff\[stability\]'"):
        run_prediction(_settings(tmp_path / "run", relax="chgnet"), progress=False)
    assert not (tmp_path / "run").exists()


def test_bad_settings_and_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="relax must be none, chgnet, sevennet"):
        _settings(tmp_path, relax="mace")
    assert _settings(tmp_path, relax="ase:module.Class").relax == "ase:module.Class"
    with pytest.raises(ValueError, match="at least 1 relax_steps"):
        _settings(tmp_path, relax_steps=0)
    for name in ("relaxed with CHGNet", "lowest energy of 2, relaxed"):
        with pytest.raises(ValueError, match="give one of them another name"):
            check_names([("--models", "cds"), ("--checkpoint", f"cds, {name}")])
