import argparse
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pyg_crysdiff.benchmark.optimisation import REFERENCE, run_benchmark
from pyg_crysdiff.benchmark.prediction import formula_of, run_prediction
from pyg_crysdiff.benchmark.row_settings import row_settings
from pyg_crysdiff.benchmark.settings import Settings
from pyg_crysdiff.benchmark.table import text_table
from pyg_crysdiff.benchmark.target_sweep import run_requests
from pyg_crysdiff.cli.benchmark import _settings, add_arguments, main
from pyg_crysdiff.configuration import load_table
from pyg_crysdiff.data import load_dataset, read_crystals
from pyg_crysdiff.data.writers import write_extxyz
from pyg_crysdiff.diffusion.sampler import PRESETS, Sampler
from pyg_crysdiff.evaluation.reference import reference_folder
from pyg_crysdiff.evaluation.results import Results
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel

THREE_STEPS = Sampler(steps=3)
TINY = [
    "denoiser.dim=8", "denoiser.num_blocks=1", "denoiser.num_waves=2", "denoiser.pair_hidden=4",
    "max_epochs=1", "process.num_steps=20", "batch_size=128",
]  # fmt: skip


def property_model(path, mean=-1.5):
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    torch.manual_seed(0)
    card = {"property": "formation_energy_per_atom", "held_out_mae": 9.0, "num_held_out": 1}
    network = PeriodicDimeNet(config)
    for output in network.output_blocks:  # zero at the start: all predictions alike
        torch.nn.init.normal_(output.lin.weight)
    PropertyModel(network, config, mean, 1.0, card).save(path)
    return path


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory):
    return property_model(tmp_path_factory.mktemp("evaluator") / "e.safetensors")


def test_a_whole_run_leaves_everything_and_is_not_repeated(tmp_path, evaluator):
    settings = Settings.resolve(
        "demo", out=tmp_path, models=("cdi",), num_samples=10, sampler=THREE_STEPS, coverage=False,
        evaluator=str(evaluator), device="cpu",
    )  # fmt: skip
    settings = replace(settings, overrides=tuple(TINY), budget_minutes=5)
    lines: list[str] = []
    first = run_benchmark(settings, lines.append, progress=False)
    assert [row.method for row in first.rows] == [REFERENCE, "cdi", "cdi, unconditional"]
    raw = json.loads((tmp_path / "results.json").read_text())
    metric = raw["rows"][1]["metrics"]["sr15_strict"]
    assert set(metric) == {"value", "low", "high"}
    assert set(raw["rows"][1]["metrics"]) == set(raw["definitions"])
    assert raw["settings"]["thresholds"]["sr5"] < raw["settings"]["thresholds"]["sr15"]
    page = (tmp_path / "report.html").read_text()
    assert "http-equiv" not in page
    assert 'src="http' not in page
    assert page.count("<img alt") == 5
    for name in ("cdi", "cdi-unconditional"):
        assert (tmp_path / "samples" / name / "samples.extxyz").is_file()
        assert len((tmp_path / "tables" / f"{name}.csv").read_text().splitlines()) == 11
    weights = (tmp_path / "models" / "cdi" / "last.ckpt").stat().st_mtime_ns
    again = run_benchmark(settings, lines.append, progress=False)
    assert (tmp_path / "models" / "cdi" / "last.ckpt").stat().st_mtime_ns == weights
    assert again.rows[0].metrics == first.rows[0].metrics
    config = json.loads((tmp_path / "models" / "cdi" / "config.json").read_text())
    assert config["data"] == {"name": "demo"}
    assert raw["settings"]["benchmark"]["sampler"]["steps"] == 3
    peer = tmp_path / "samples" / "cdi" / "samples.pt"
    checkpoint = tmp_path / "models" / "cdi" / "last.ckpt"
    more = replace(
        settings, models=(), samples=(("peer", peer),), checkpoints=(("given", checkpoint),)
    )
    table = text_table(run_benchmark(more, progress=False))
    rows, settings = table.split("-- settings of the rows\n")
    assert [line.split()[0] for line in rows.strip().splitlines()[-3:]] == [
        "given", "given,", "peer",
    ]  # fmt: skip
    assert settings.splitlines()[0] == (
        "given                                request min, guidance 2, constraints none, solver "
        "renewing, steps 3, corrector none, sizes p(N), seed 0"
    )
    assert settings.splitlines()[1].split()[:4] == ["given,", "unconditional", "request", "none,"]
    assert "best of ten" not in table  # nobody's samples here are candidates of starts
    assert Results.load(tmp_path / "results.json").rows[3].source == str(peer)


def test_numbers_of_the_reference_are_kept_for_all_folders(tmp_path, evaluator, monkeypatch):
    monkeypatch.setenv("CRYSDIFF_CACHE", str(tmp_path / "cache"))
    write_extxyz(load_dataset("demo", "test").crystals()[:6], tmp_path / "peer.extxyz")
    kept = []
    for folder in ("first", "second"):
        settings = Settings.resolve(
            "demo", out=tmp_path / folder, models=(), samples=(("peer", tmp_path / "peer.extxyz"),),
            evaluator=str(evaluator), coverage=False, device="cpu",
        )  # fmt: skip
        run_benchmark(settings, progress=False)
        kept.append({p.name: p.stat().st_mtime_ns for p in reference_folder().iterdir()})
    assert kept[0] == kept[1]
    assert any(name.startswith("groups") for name in kept[0])


def test_the_best_of_several_draws_is_a_row_of_its_own(tmp_path, evaluator):
    predictor = property_model(tmp_path / "another.safetensors", mean=-1.5 - 1e-9)
    settings = Settings.resolve(
        "demo", out=tmp_path, models=("cds",), num_samples=10, sampler=THREE_STEPS, coverage=False,
        evaluator=str(evaluator), predictor=str(predictor), draws=3, device="cpu",
        requests=("min", "min:10"), charge_neutral=True, num_elements=(2, 2), symmetrise=0.3,
    )  # fmt: skip
    settings = replace(settings, overrides=tuple(TINY), budget_minutes=5, copies=0)
    results = run_benchmark(settings, progress=False)
    methods = [
        REFERENCE, "cds", "cds, symmetrised", "cds, lowest 10 %", "cds, lowest 10 %, symmetrised",
        "cds, lowest 10 %, 10 chosen of 30", "cds, unconditional",
    ]  # fmt: skip
    assert [r.method for r in results.rows] == methods
    plain, (drawn, moved, chosen) = results.rows[1], results.rows[3:6]
    assert (plain.details["request"], drawn.details["request"]) == ("min", "min:10")
    assert moved.details["symmetrised"] == 0.3
    assert moved.details["checkpoint"] == drawn.details["checkpoint"]
    stem = "cds-lowest 10 %"
    copies = (tmp_path / "samples" / f"{stem}-symmetrised" / "samples.extxyz").read_text()
    assert copies.count("space_group_number=") == 10
    assert chosen.details["candidates"] == 30
    assert drawn.details["target"] == "min:10"
    assert drawn.metrics["comp_valid"].value == 1
    assert drawn.details["constraints"] == {"charge_neutral": True, "num_elements": (2, 2)}
    assert results.rows[-1].details["constraints"] == {}
    assert "constraints charge neutral; num elements 2-2" in (tmp_path / "report.html").read_text()
    names = (stem, f"{stem}-10 chosen of 30")
    tables = [pd.read_csv(tmp_path / "tables" / f"{name}.csv") for name in names]
    assert tables[1]["valid"].all()
    # the predictor orders as the evaluator does here: nearest to the target first
    off = (tables[1]["predicted"] - results.settings["target"]).abs()
    assert off.is_monotonic_increasing
    assert off.mean() <= (tables[0]["predicted"] - results.settings["target"]).abs().mean()


def test_the_row_of_the_papers_sampler_and_a_longer_one_for_coverage(tmp_path, evaluator):
    settings = Settings.resolve(
        "demo", out=tmp_path, models=("cds",), num_samples=3, num_unconditional=8, paper_row=True,
        sampler=THREE_STEPS, evaluator=str(evaluator), coverage=False, device="cpu", guidance=2.0,
        charge_neutral=True,
    )  # fmt: skip
    settings = replace(settings, overrides=tuple(TINY), budget_minutes=5)
    rows = {row.method: row for row in run_benchmark(settings, progress=False).rows}
    assert list(rows) == [REFERENCE, "cds", "cds, paper's sampler", "cds, unconditional"]
    paper, free = rows["cds, paper's sampler"], rows["cds, unconditional"]
    assert row_settings(paper) == {
        "request": "min", "guidance": "1", "constraints": "none", "solver": "ancestral",
        "steps": "all", "corrector": "1", "sizes": "p(N)", "seed": "0",
    }  # fmt: skip
    assert row_settings(rows["cds"])["constraints"] == "charge neutral"
    assert [r.details["num_samples"] for r in (rows["cds"], paper, free)] == [3, 3, 8]
    assert row_settings(free)["compared"] == "unique, novel: 3 crystals"
    found = pd.read_csv(tmp_path / "tables" / "cds-unconditional.csv")
    assert found["first"].notna().sum() == min(3, found["valid"].sum())


def test_requests_over_the_whole_range(tmp_path, evaluator):
    settings = Settings.resolve(
        "demo", out=tmp_path, models=("cds",), num_samples=4, sampler=THREE_STEPS,
        guidances=(0.0, 2.0), evaluator=str(evaluator), device="cpu",
    )  # fmt: skip
    settings = replace(settings, overrides=tuple(TINY), budget_minutes=5)
    results = run_requests(settings, progress=False)
    values = [c.info["formation_energy_per_atom"] for c in settings.load("train").crystals()]
    unasked = {r.details["percentile"]: r for r in results.rows if r.method.startswith("training")}
    for percentile in (0, 5, 50, 95):
        value = np.percentile(values, percentile)
        assert unasked[percentile].details["target"] == pytest.approx(value)
        off = np.abs(np.array(values) - value).mean()
        assert unasked[percentile].metrics["target_mae"].value == pytest.approx(off)
    asked = results.rows[len(unasked) :]
    assert len(asked) == 2 * len(unasked)
    free = [r for r in asked if r.details["guidance"] == 0]
    # without guidance all requests give the same crystals, and another distance to each
    tables = [pd.read_csv(tmp_path / "tables" / f"{r.method.replace(', ', '-')}.csv") for r in free]
    assert all(t["predicted"].equals(tables[0]["predicted"]) for t in tables)
    assert {r.details["target"] for r in free} == {u.details["target"] for u in unasked.values()}
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img alt") == 2
    assert "Structures nearest to the request" not in page
    assert "5 % point" in text_table(results)


def test_settings_come_from_the_configuration_and_the_command_line_wins():
    table = load_table("benchmark.yaml")
    settings = Settings.resolve("demo", out="x", num_samples=7, guidance=None)
    assert settings.num_samples == 7
    assert settings.guidance == table["demo"]["guidance"]
    own = Settings.resolve("my.csv", out="x", properties=("gap",))
    assert own.budget_minutes == table["default"]["budget_minutes"]
    assert own.data_options() == {"properties": ["gap"]}
    with pytest.raises(ValueError, match="--split"):
        Settings.resolve("demo", out="x", split="val-as-train").data_options()


@pytest.mark.parametrize("dataset", ["demo", "carbon24", "perov5", "mp20", "my.csv"])
def test_trainings_of_every_entry_compose(dataset):
    settings = Settings.resolve(dataset, out="x")
    families = ("structrepdiff", "structrepdiff-mlp", "structrepdiff-paper")
    for model in (*settings.models, *(f"{family}-cds" for family in families)):
        assert settings.training_config(model)["seed"] == 0


def test_trainings_are_those_of_the_published_table():
    """What the entries of configs/benchmark.yaml mean for a model."""
    demo = Settings.resolve("demo", out="x").training_config("cds")
    assert (demo["batch_size"], demo["denoiser"]["dim"], demo["denoiser"]["num_waves"]) == (
        32, 64, 10,
    )  # fmt: skip
    assert (demo["optimizer"]["lr"], demo["optimizer"]["warmup_steps"]) == (3e-3, 100)
    carbon = Settings.resolve("carbon24", out="x")
    focus = {"end": "lowest", "part": 0.05, "share": 0.3}
    assert carbon.training_config("cds")["focus"] == focus
    assert Settings.resolve("mp20", out="x").training_config("cdi")["batch_size"] == 256
    assert carbon.training_config("structrepdiff-cds")["focus"] is None
    assert carbon.training_config("structrepdiff-cds")["batch_size"] == 64
    mlp = carbon.training_config("structrepdiff-mlp-cds")
    assert (mlp["network"], mlp["batch_size"], mlp["focus"]) == ("mlp", 512, focus)
    assert (mlp["basis"]["components"], mlp["basis"]["kind"]) == (128, "principal")
    assert mlp["reconstruction"]["waves"] == 8, "the dense search"
    paper = carbon.training_config("structrepdiff-paper-cds")
    assert paper["reconstruction"]["chains"], "the paper keeps its own search"


def test_settings_of_one_model_are_its_own_and_the_callers_win():
    settings = Settings.resolve(
        "demo",
        out="x",
        train_design={"batch_size": 6, "optimizer": {"warmup_steps": 3}},
        train_model={"cds": {"optimizer": {"lr": 0.5}, "batch_size": 7}},
        train={},
        overrides=("optimizer.lr=0.25",),
    )
    found = [settings.training_config(model) for model in ("cdi", "cds")]
    assert [config["batch_size"] for config in found] == [6, 7]
    assert [config["optimizer"]["lr"] for config in found] == [0.25, 0.25]
    assert [config["optimizer"]["warmup_steps"] for config in found] == [3, 3]
    free = replace(settings, overrides=()).training_config("cds")
    assert free["optimizer"]["lr"] == 0.5


def test_what_a_training_cannot_be_told_is_refused():
    settings = Settings.resolve("demo", out="x")
    with pytest.raises(ValueError, match="spead"):
        replace(settings, train={"optimizer": {"spead": 1}}).training_config("cds")
    for override in ("data=mp20", "data.name=my.csv", "++data.fractions=[1,0,0]"):
        with pytest.raises(ValueError, match=r"--set .*--dataset"):
            replace(settings, overrides=(override,)).training_config("cds")


def test_samplers_come_from_the_table_and_are_replaced_whole():
    assert Settings.resolve("demo", out="x").sampler == Sampler(steps=200)
    carbon = Settings.resolve("carbon24", out="x")
    assert carbon.sampler == Sampler(steps=200, spacing="focused")
    own = carbon.structrepdiff_sampler
    assert (own.solver, own.steps, own.corrector_steps) == ("ancestral", 250, 0)
    assert Settings.resolve("carbon24", out="x", sampler="paper").sampler == PRESETS["paper"]
    paper = Sampler("ancestral", None)
    for words, sampler, second in (
        ([], Sampler(steps=200, spacing="focused"), own),
        (["--sampler", "fast"], PRESETS["fast"], own),
        (["--steps", "7"], Sampler(steps=7), replace(own, steps=7)),
        (["--solver", "ancestral"], PRESETS["paper"], paper),
        (["--sampler", "paper", "--steps", "9"], replace(PRESETS["paper"], steps=9),
         replace(paper, steps=9)),
        (["--solver", "flow", "--steps", "9", "--corrector-steps", "1"],
         Sampler("flow", 9, corrector_steps=1), Sampler("flow", 9)),
        (["--solver", "renewing", "--steps", "9"], Sampler("renewing", 9), own),
        (["--corrector-steps", "1"], Sampler(corrector_steps=1), own),
    ):  # fmt: skip
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        args = parser.parse_args(["--dataset", "carbon24", *words])
        assert _settings(args).sampler == sampler
        assert _settings(args).structrepdiff_sampler == second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "nonsense"], "NAME=FILE"),
        (["--samples", "a=nowhere.pt"], "nowhere.pt"),
        (["--dataset", "nowhere.csv"], "no data set"),
        (["--evaluator", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_errors_are_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(tmp_path)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_prediction_trains_samples_and_matches_and_is_not_repeated(tmp_path):
    settings = Settings.resolve(
        "demo", out=tmp_path, models=("cds",), num_samples=3, candidates=2, sampler=THREE_STEPS,
        device="cpu",
    )  # fmt: skip
    settings = replace(settings, overrides=tuple(TINY), budget_minutes=5)
    results = run_prediction(settings, progress=False)
    row, agreed = results.rows
    assert agreed.method == "cds, most agreed of 2"
    assert set(row.metrics) == set(results.definitions)
    assert row.metrics["match_rate_any_struct"].value >= row.metrics["match_rate_struct"].value
    table = pd.read_csv(tmp_path / "tables" / "cds.csv")
    assert list(table.columns[1:]) == ["formula", "candidate_1", "candidate_2"]
    test = settings.load("test")
    wanted = [formula_of(test.crystals()[k]) for k in settings.chosen(len(test))]
    assert table["formula"].tolist() == wanted
    samples = read_crystals(tmp_path / "samples" / "cds" / "samples.extxyz")
    assert [formula_of(c) for c in samples] == wanted * 2
    weights = (tmp_path / "models" / "cds" / "last.ckpt").stat().st_mtime_ns
    checkpoint = tmp_path / "models" / "cds" / "last.ckpt"
    both = replace(settings, checkpoints=(("v1.2", checkpoint),))
    again = run_prediction(both, progress=False)
    assert (tmp_path / "models" / "cds" / "last.ckpt").stat().st_mtime_ns == weights
    names = ["cds", "cds, most agreed of 2", "v1.2", "v1.2, most agreed of 2"]
    assert [r.method for r in again.rows] == names
    tables = [(tmp_path / "tables" / f"{name}.csv").read_text() for name in ("cds", "v1.2")]
    assert tables[0] == tables[1]
