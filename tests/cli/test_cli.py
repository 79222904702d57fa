import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from pyg_crysdiff.cli import command as cli
from pyg_crysdiff.cli import main
from pyg_crysdiff.data import load_dataset, read_crystals
from pyg_crysdiff.data.writers import crystal_to_cif, save_cdvae, write_extxyz
from pyg_crysdiff.evaluation.composition import smact_validity
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel

TINY = [
    "denoiser.dim=8", "denoiser.num_blocks=1", "denoiser.num_waves=2", "denoiser.pair_hidden=4",
    "max_epochs=1", "process.num_steps=20", "device=cpu",
]  # fmt: skip


def test_best_of_ten_is_computed_where_starts_are_given(tmp_path):
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    card = {"property": "formation_energy_per_atom"}
    PropertyModel(PeriodicDimeNet(config), config, -1.5, 1.0, card).save(tmp_path / "e.safetensors")
    crystals = load_dataset("demo", "test").crystals()[:20]
    write_extxyz(crystals, tmp_path / "samples.extxyz")
    words = [
        "evaluate", str(tmp_path / "samples.extxyz"), "--train", "demo",
        "--evaluator", str(tmp_path / "e.safetensors"), "--task", "optimisation",
        "--bootstrap", "0", "--workers", "0", "--out", str(tmp_path / "scores"),
    ]  # fmt: skip
    found = {}
    for starts in ([], ["--starts", "2"]):
        main([*words, *starts])
        (row,) = json.loads((tmp_path / "scores" / "results.json").read_text())["rows"]
        found[len(starts)] = row["metrics"]
    assert row["details"] == {"num_samples": 20, "num_starts": 2}
    assert "sr5_all" in found[0]
    assert set(found[2]) - set(found[0]) == {f"sr{p}_best10" for p in (5, 10, 15)}


def test_files_give_percentiles_and_the_error_of_the_judge(tmp_path, capsys):
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    model = PropertyModel(PeriodicDimeNet(config), config, -1.5, 1.0, {"property": "energy"})
    model.save(tmp_path / "e.safetensors")
    crystals = load_dataset("demo", "test").crystals()[:12]
    known = [replace(c, info={"energy": float(k)}) for k, c in enumerate(crystals)]
    write_extxyz(known, tmp_path / "known.extxyz")
    write_extxyz(crystals, tmp_path / "other.extxyz")
    words = [
        "evaluate", str(tmp_path / "known.extxyz"), "--evaluator", str(tmp_path / "e.safetensors"),
        "--task", "optimisation", "--no-coverage", "--bootstrap", "0", "--workers", "0",
        "--out", str(tmp_path / "scores"),
    ]  # fmt: skip
    for name in ("known", "other"):
        file = str(tmp_path / f"{name}.extxyz")
        main([*words, "--reference", file, "--train", file])
        results = json.loads((tmp_path / "scores" / "results.json").read_text())
        said = f"{file} has no 'energy': nothing is measured against its values"
        assert (said in capsys.readouterr().out) == (name == "other")
        assert ("sr5_all" in results["rows"][0]["metrics"]) == (name == "known")
        assert ("test_mae" in results["settings"]["evaluator"]) == (name == "known")


def test_train_sample_evaluate(tmp_path, capsys):
    # overrides may stand on both sides of options
    main(["train", *TINY[:3], "--out", str(tmp_path / "run"), *TINY[3:]])
    assert "1 epochs" in capsys.readouterr().out
    checkpoint = str(tmp_path / "run" / "last.ckpt")
    main([
        "sample", "--checkpoint", checkpoint, "-n", "4", "--steps", "3", "--target",
        "formation_energy_per_atom=-2", "--num-atoms", "5", "--out", str(tmp_path / "s"),
    ])  # fmt: skip
    assert "4 crystals" in capsys.readouterr().out
    reference = load_dataset("demo", "test").crystals()[:12]
    save_cdvae(reference, tmp_path / "reference.pt")
    main([
        "evaluate", str(tmp_path / "s" / "samples.extxyz"), str(tmp_path / "reference.pt"),
        "--reference", str(tmp_path / "reference.pt"), "--cutoffs", "0.2", "4",
        "--bootstrap", "20", "--workers", "0", "--out", str(tmp_path / "scores"),
    ])  # fmt: skip
    raw = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert [row["method"] for row in raw["rows"]] == ["samples.extxyz", "reference.pt"]
    assert raw["rows"][1]["metrics"]["cov_recall"]["value"] == 1
    assert (tmp_path / "scores" / "reference.pt.csv").is_file()


def test_resume_takes_nothing_else(tmp_path, capsys):
    main(["train", *TINY, "--out", str(tmp_path)])
    main(["train", "--resume", str(tmp_path)])
    assert capsys.readouterr().out.count("1 epochs") == 2
    with pytest.raises(SystemExit):
        main(["train", "seed=1", "--resume", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "colour=blue"], "colour"),
        (["train", "data=nothing"], "nothing"),
        (["train", "data=own"], "data.name"),
        (["sample", "--checkpoint", "none.ckpt"], "none.ckpt"),
        (["sample", "--checkpoint", "none.ckpt", "--num-atoms", "x"], "--num-atoms"),
        (["sample", "--checkpoint", "none.ckpt", "--target", "gap"], "--target"),
        (["evaluate", "none.pt"], "none.pt"),
        (["train-evaluator", "nothing"], "nothing"),
        (["train-evaluator", "demo", "--split", "val-as-train"], "scheme"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error:")


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"crysdiff {command}" in capsys.readouterr().out.split("examples:")[1]


def test_all_that_compute_on_many_items_have_an_engine(capsys):
    for name in set(cli.COMMANDS) - {"train", "train-evaluator", "info", "export"}:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert "--engine" in capsys.readouterr().out


def test_the_engine_of_a_command_is_told_and_changes_no_result(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crystals = load_dataset("demo", "test").crystals()[:6]
    write_extxyz(crystals, "a.extxyz")
    words = ["evaluate", "a.extxyz", "--reference", "a.extxyz", "--bootstrap", "0"]
    tables = []
    for out, *engine in (
        ["s", "--engine", "serial"],
        ["p", "--engine", "processes", "--workers", "2"],
    ):
        main([*words, "--out", out, *engine])
        tables.append(next(Path(out).rglob("*.csv")).read_bytes())
    said = capsys.readouterr().out
    assert "engine: this process" in said
    assert "engine: 2 processes" in said
    assert tables[0] == tables[1]


def test_parts_of_own_data_are_references(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crystals = load_dataset("demo", "test").crystals()[:20]
    write_extxyz(crystals, "own.extxyz")
    Path("cut").mkdir()
    for name, part in (("train", crystals[:9]), ("valid", crystals[9:12]), ("test", crystals[12:])):
        texts = {"cif": list(map(crystal_to_cif, part)), "e": range(len(part))}
        pd.DataFrame(texts).to_csv(f"cut/{name}.csv", index=False)
    sizes = {}
    for reference, train in (("own.extxyz:test", "own.extxyz:train"), ("cut", "cut"),
                             ("cut:val", "cut:all"), ("own.extxyz", "own.extxyz")):  # fmt: skip
        main(["evaluate", "own.extxyz", "--reference", reference, "--train", train,
              "--bootstrap", "0", "--workers", "0"])  # fmt: skip
        settings = json.loads(Path("scores/results.json").read_text())["settings"]
        sizes[reference] = (settings["num_reference"], settings["num_train"])
        assert f"COV is left out: no cut-offs are known for {reference}" in capsys.readouterr().out
    assert sizes == {
        "own.extxyz:test": (2, 16), "cut": (8, 9), "cut:val": (3, 20), "own.extxyz": (20, 20),
    }  # fmt: skip
    for wrong, said in (("cut:dev", "there is no part dev"), ("kut", "neither a data set")):
        with pytest.raises(SystemExit):
            main(["evaluate", "own.extxyz", "--reference", wrong])
        assert said in capsys.readouterr().err


def test_results_of_other_files_are_put_aside(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crystals = load_dataset("demo", "test").crystals()[:3]
    for name in ("a/samples.extxyz", "b/samples.extxyz"):
        Path(name).parent.mkdir()
        write_extxyz(crystals[: 2 if name[0] == "a" else 3], name)
    Path("scores").mkdir()
    Path("scores/own.csv").write_text("mine")
    words = ["--bootstrap", "0", "--workers", "0"]
    tables = {}
    for name in ("a", "b", "b"):  # the same file again stays in its place
        main(["evaluate", f"{name}/samples.extxyz", *words])
        tables[name] = Path("scores/samples.extxyz.csv").read_bytes()
    assert "they are in scores/earlier-1 now" in capsys.readouterr().out
    assert tables["a"] != tables["b"]
    assert Path("scores/earlier-1/samples.extxyz.csv").read_bytes() == tables["a"]
    results = json.loads(Path("scores/earlier-1/results.json").read_text())
    assert [row["source"] for row in results["rows"]] == ["a/samples.extxyz"]
    assert {"command", "python", "torch", "smact", "pymatgen"} <= set(results["settings"])
    assert sorted(p.name for p in Path("scores").glob("*[!k]"))[:2] == ["earlier-1", "own.csv"]


def test_training_and_sampling_import_neither_matminer_nor_smact():
    code = (
        "import sys, pyg_crysdiff.training, pyg_crysdiff.sampling, pyg_crysdiff.data\n"
        "assert not {'matminer', 'smact'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


OWN = """
from pyg_crysdiff.nn import Conditioner


class Mine(Conditioner):
    \"\"\"Adds the condition to the initial embedding.\"\"\"

    def initial(self, z, z_c, crystal):
        return z + z_c[crystal]
"""


def test_a_conditioner_of_ones_own_is_one_class_and_one_yaml(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_package_for_test.py").write_text(OWN)
    folder = tmp_path / "my_configs" / "conditioner"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("_target_: own_package_for_test.Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    search = f"hydra.searchpath=[file://{tmp_path / 'my_configs'}]"
    arguments = ["train", *TINY, "conditioner=mine", search, "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        main(arguments)
    assert "own_package_for_test" in capsys.readouterr().err
    main([*arguments, "--trust", "own_package_for_test"])
    sample = ["sample", "--checkpoint", str(tmp_path / "run" / "last.ckpt"), "-n", "2", "--steps"]
    sample += ["2", "--out", str(tmp_path / "s")]
    with pytest.raises(SystemExit):
        main(sample)
    main([*sample, "--trust", "own_package_for_test"])


@pytest.mark.parametrize(
    "words", [["train", "--out", "x", "--colour"], ["sample", "--checkpoint", "x", "steps=3"]]
)
def test_words_that_nobody_asked_for_are_refused(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


def test_export_sample_select(tmp_path, capsys):
    run, shared = tmp_path / "run", tmp_path / "shared.safetensors"
    main(["train", *TINY, "--out", str(run)])
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"sampler": {"steps": 4, "solver": "renewing"}}))
    main(["export", str(run / "last.ckpt"), "--out", str(shared), "--facts", str(facts)])
    samples = tmp_path / "samples"
    main(["sample", "--checkpoint", str(shared), "-n", "6", "--target", "min:10",
          "--poscar", "--out", str(samples)])  # fmt: skip
    assert len(list((samples / "poscar").glob("0000?.vasp"))) == 6
    request = json.loads((samples / "request.json").read_text())
    assert (request["steps"], request["solver"]) == (4, "renewing")
    predictor = tmp_path / "p.safetensors"
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    torch.manual_seed(0)
    PropertyModel(PeriodicDimeNet(config), config, 0.0, 1.0, {"property": "e"}).save(predictor)
    chosen = tmp_path / "chosen"
    crystals = load_dataset("demo", "test").crystals()
    known = [c for c in crystals if smact_validity(c.atomic_numbers)][:4]
    write_extxyz(known, tmp_path / "known.extxyz")
    select = [
        "select", str(tmp_path / "known.extxyz"), str(samples / "samples.extxyz"), "-n", "50",
        "--predictor", str(predictor), "--target", "0", "--out", str(chosen),
    ]  # fmt: skip
    main([*select, "--poscar"])
    table = pd.read_csv(chosen / "selected.csv")
    assert len(read_crystals(chosen / "selected.extxyz")) == len(table) >= 4
    assert len(list((chosen / "cif").glob("*.cif"))) == len(table)
    assert set(table["file"]) <= set(map(str, select[1:3]))
    assert len(list((chosen / "cif").iterdir())) == len(table)
    assert len(list((chosen / "poscar").iterdir())) == len(table)
    main([*select[:3], "-n", "2", *select[5:]])  # no files of the longer selection stay
    assert sorted(p.name for p in (chosen / "cif").iterdir()) == ["00000.cif", "00001.cif"]
    assert not list((chosen / "poscar").iterdir())
    read = re.search(r"of the 50 that were asked for \((\d+) read", capsys.readouterr().out)
    assert int(read[1]) == 10
    with pytest.raises(SystemExit):
        main([*select[:2], *select[3:], "--new-to", select[1]])
    assert "none of the 4 crystals" in capsys.readouterr().err


def test_help_of_the_benchmark_begins_with_the_usual_options(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    usual = ["--dataset", "--models", "--budget", "--num-samples", "--out"]
    usage, _, options = text.partition("options:")
    assert re.findall(r"\[(--[a-z-]+)", usage) == usual
    first, *groups = re.split(r"\n\n(?=[a-z ]+:\n)", options.partition("examples:")[0])
    assert re.findall(r"^  (--[a-z-]+)", first, re.M) == [*usual, "--debug"]
    titles = [group.splitlines()[0].rstrip(":") for group in groups]
    assert titles[:3] == ["data", "other rows of the table", "training"]
    assert "crysdiff benchmark --dataset carbon24" in text


def test_the_script_of_the_source_tree_is_the_command():
    script = Path(__file__).parents[2] / "benchmarks" / "run.py"
    words = ["--samples", "nonsense"]
    done = [
        subprocess.run(
            [sys.executable, *start, *words], capture_output=True, text=True, check=False
        )
        for start in ([str(script)], ["-m", "pyg_crysdiff", "benchmark"])
    ]
    assert [run.returncode for run in done] == [2, 2]
    assert done[0].stderr == done[1].stderr == "error: expected NAME=FILE, got 'nonsense'\n"
