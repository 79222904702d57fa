"""Rows of a benchmark's table: what is asked for, whose they are, their columns and settings."""

import argparse
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pyg_crysdiff.baselines import load_baseline, published_rows
from pyg_crysdiff.benchmark.asks import asks
from pyg_crysdiff.benchmark.optimisation import _Run
from pyg_crysdiff.benchmark.peers import peer_samples, published_peers
from pyg_crysdiff.benchmark.row_settings import row_settings
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.splits import Splits
from pyg_crysdiff.benchmark.table import cell, columns_of, grouped
from pyg_crysdiff.cli.benchmark import _settings, add_arguments
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.diffusion.sampler import PRESETS
from pyg_crysdiff.evaluation.harness import Evaluation, Protocol
from pyg_crysdiff.evaluation.results import Estimate, Row
from tests.conftest import make_crystal

RATES = {"sr5_all": Estimate(0.5), "sr5_best10": Estimate(1.0)}


def test_best_of_ten_is_for_peers_whose_own_protocol_makes_it(tmp_path, monkeypatch):
    settings = Settings.resolve("demo", out=tmp_path / "run", num_samples=20)
    crystal = make_crystal(np.random.default_rng(0), 1)
    details = {}
    for name, count in (("cdvae", 1100), ("cdvae", 400), ("mattergen", 1100)):
        file = tmp_path / f"{count}.extxyz"
        write_extxyz([crystal] * count, file)
        arguments = (settings, load_baseline(name), file, Splits(settings), "e", lambda _: None)
        (found,) = peer_samples(*arguments)
        details[name, len(found.entries)] = found.details
    assert details == {
        ("cdvae", 1100): {"num_starts": 100}, ("cdvae", 400): {}, ("mattergen", 1100): {},
    }  # fmt: skip

    def judged(_, name, entries, protocol, say):
        seen.append((name, protocol.num_starts))
        return Evaluation({}, {}, pd.DataFrame())

    seen: list = []
    monkeypatch.setattr("pyg_crysdiff.benchmark.optimisation.score", judged)
    run = _Run(settings, lambda _: None, False)
    run.protocol = Protocol()
    run._score("CDVAE", [crystal], "f", {"num_starts": 100})
    run._score("cds", [crystal], "this run", {})
    assert seen == [("CDVAE", 100), ("cds", None)]
    assert "sr5_best10" in Row("CDVAE", "measured", "", RATES, {"num_starts": 100}).shown()
    assert list(Row("cds", "measured", "", RATES).shown()) == ["sr5_all"]


def test_a_live_peer_has_starts_for_its_optimisation_alone(tmp_path, monkeypatch):
    checkout = tmp_path / "cdvae" / "cdvae" / "pl_modules"
    checkout.mkdir(parents=True)
    (checkout / "model.py").touch()
    crystal = make_crystal(np.random.default_rng(0), 1)
    samples = {"generation": [crystal] * 20, "optimisation": [crystal] * 20}
    facts = {"epochs": 3, "num_starts": 2}
    monkeypatch.setattr("pyg_crysdiff.benchmark.peers.run_live", lambda *_: (samples, dict(facts)))
    settings = Settings.resolve("demo", out=tmp_path / "run", num_samples=20)
    name = "formation_energy_per_atom"
    found = peer_samples(
        settings, load_baseline("cdvae"), tmp_path / "cdvae", Splits(settings), name, lambda _: None
    )
    assert [(f.name, f.details) for f in found] == [
        ("CDVAE (live)", facts), ("CDVAE (live), unconditional", {"epochs": 3}),
    ]  # fmt: skip


def test_requests_are_rows_of_their_own():
    settings = Settings.resolve("perov5", out="x")
    assert (settings.requests, settings.num_unconditional) == (("min", "min:5"), 10000)
    assert Settings.resolve("perov5", out="x", num_samples=9).num_unconditional is None
    old = Settings.resolve("perov5", out="x", request="max:10")
    assert old.requests == ("max:10",)
    rows = asks(old, "e", -1.0, PRESETS)
    assert [(r.name("cds"), r.target) for r in rows] == [
        ("cds, highest 10 %", "max:10"), ("cds, unconditional", None),
    ]  # fmt: skip
    rows = asks(replace(settings, target=-2.0), "e", -2.0, PRESETS)
    assert [(r.name("m"), r.request, r.target) for r in rows[:-1]] == [("m", "e=-2", {"e": -2.0})]
    assert rows[-1].settings.num_samples == 10000
    rows = asks(replace(settings, num_unconditional=0), "e", -1.0, PRESETS)
    assert [row.name("m") for row in rows] == ["m", "m, lowest 5 %"]
    for wrong in ((), ("min:",), ("lowest",), ("min:101",), ("min", "min")):
        with pytest.raises(ValueError, match="--request"):
            Settings.resolve("perov5", out="x", requests=wrong)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--request", "min,max:5", "--request", "max", "--num-unconditional", "7"]
    found = _settings(parser.parse_args([*words, "--paper-sampler"]))
    assert found.requests == ("min", "max:5", "max")
    assert (found.num_unconditional, found.paper_row) == (7, True)
    assert not _settings(parser.parse_args([])).paper_row


def test_tables_ask_for_the_minimum_without_guidance_and_constraints():
    for name in ("perov5", "carbon24", "mp20"):
        settings = Settings.resolve(name, out="x")
        assert settings.requests[0] == "min"
        assert (settings.guidance, settings.charge_neutral, settings.num_elements) == (
            1.0, False, None,
        )  # fmt: skip
        assert settings.num_unconditional == 10000


def test_published_coverage_stands_beside_the_row_without_a_condition():
    rows = {row.method: row for row in published_peers("perov5")}
    assert rows["DiffCSP, unconditional"].metrics["cov_recall"].value == 0.9974
    assert rows["MODEL-CDI"].metrics["sr15_all"].value == 0.98
    assert "SyMat, unconditional" not in rows  # other cut-offs
    assert published_peers("demo") == []


def test_columns_of_the_look_up_and_of_counts():
    metrics = {
        "held_out_found@10000": Estimate(0.9), "held_out_found@1000": Estimate(0.25),
        "distinct_hits": Estimate(615.0), "lookup_sr5_all": Estimate(0.66),
        "lookup_sr10_all": Estimate(0.84), "unheard_of": Estimate(1.0),
    }  # fmt: skip
    row = Row("cds", "measured", "this run", metrics)
    columns = columns_of([row])
    assert list(columns.values())[-2:] == ["held-out found in 1,000", "held-out found in 10,000"]
    assert grouped(columns)["look-up SR5/10/15"] == ["lookup_sr5_all", "lookup_sr10_all"]
    assert "unheard_of" not in columns
    assert (cell(row, "distinct_hits"), cell(row, "lookup_sr5_all")) == ("615", "0.660")
    assert cell(row, "valid") == ""


def test_settings_of_rows_that_older_versions_wrote():
    old = {
        "solver": "renewing", "steps": 60, "spacing": "focused", "corrector_steps": 0,
        "charge_neutral": True, "num_elements": [2, 3], "guidance": 2.0, "num_atoms": "target",
        "target": {"e": -4.5}, "candidates": 3000, "symmetrised": 0.1,
    }  # fmt: skip
    assert row_settings(Row("cds", "measured", "", {}, old), 4) == {
        "request": "e=-4.5", "guidance": "2", "constraints": "charge neutral; num elements 2-3",
        "solver": "renewing (focused)", "steps": "60", "corrector": "none",
        "sizes": "p(N | target)", "seed": "4", "chosen of": "3,000", "symmetrised": "0.1 A",
    }  # fmt: skip
    assert row_settings(Row("CDVAE", "published", "a paper", {})) == {}


def test_published_rows_are_marked_and_sourced():
    rows = {row.method: row for row in published_rows("carbon24", "optimisation")}
    assert rows["CDVAE"].metrics["sr10_best10"].value == 0.06
    assert rows["MODEL-CDS"].metrics["sr5_all"].value == 0.56  # no best of ten in its paper
    assert not any("best10" in key for key in rows["MODEL-CDS"].metrics)
    assert rows["CDVAE"].metrics["sr5_best10"].low is None
    assert "Cond-DFC-VAE" not in rows
    assert all(row.kind == "published" and "arXiv" in row.source for row in rows.values())
    assert published_rows("demo", "optimisation") == []
    (diffcsp,) = (r for r in published_rows("carbon24", "generation") if r.method == "DiffCSP")
    assert "comp_valid" not in diffcsp.metrics
    with pytest.raises(ValueError, match="task"):
        published_rows("carbon24", "magic")


def test_training_crystals_without_a_value_are_left_out_and_counted(tmp_path):
    said: list[str] = []
    run = _Run(Settings.resolve("demo", out=tmp_path), said.append, False)
    run.property = "e"
    crystals = [make_crystal(np.random.default_rng(k), 2) for k in range(3)]
    for crystal, value in zip(crystals, (2.0, math.nan, 1.0), strict=True):
        crystal.info["e"] = value

    class Listed(list):
        def crystals(self):
            return list(self)

    run.train = Listed(crystals)
    assert [c.info["e"] for c in run._known] == [2.0, 1.0]
    assert said == ["1 of 3 training crystals have no e"]
    empty = _Run(Settings.resolve("demo", out=tmp_path), said.append, False)
    empty.property, empty.train = "f", run.train
    with pytest.raises(ValueError, match="no training crystal has a value of 'f'"):
        _ = empty._known
