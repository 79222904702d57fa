"""``crysdiff info``: the facts of a checkpoint, for people and for programs."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pymatgen.core import Element

from pyg_crysdiff.cli import main
from pyg_crysdiff.data import DATASETS
from pyg_crysdiff.data import names as module
from pyg_crysdiff.models import load_checkpoint, pretrained, pretrained_names
from pyg_crysdiff.property.model import EvaluatorConfig, PeriodicDimeNet, PropertyModel
from pyg_crysdiff.property.summary import summarise_predictor
from pyg_crysdiff.sampling.summary import summarise

FIXTURES = Path(__file__).parents[1] / "models" / "checkpoints"


def told(words, capsys):
    main(["info", *words])
    return capsys.readouterr().out


def test_without_argument_one_line_for_each_checkpoint_of_the_package(capsys):
    lines = told([], capsys).splitlines()
    first, second = lines.index("") + 1, len(lines) - 1
    assert [line.split()[0] for line in lines[1 : first - 1]] == pretrained_names()
    assert [line.split()[0] for line in lines[first + 1 : second]] == pretrained.predictor_names()
    (carbon,) = [line for line in lines if line.startswith("carbon24-cds ")]
    for word in ("Carbon-24", "1,829", "energy_per_atom", "6 to 24"):
        assert word in carbon
    rows = json.loads(told(["--json"], capsys))
    assert rows["perov5-cds"]["num_atoms"] == [5, 5]
    assert rows["perov5-predictor"]["kind"] == "predictor"


def test_a_shipped_predictor_tells_what_it_predicts_and_how_well(capsys):
    page = told(["perov5-predictor"], capsys)
    for line in (
        "data set        Perov-5, train part, 3,408 crystals",
        "property        heat_ref (eV/atom)",
        "held-out error  0.07048 eV/atom on average, of 341 crystals left out",
        "training        9 min, 34 epochs",
    ):
        assert line in page
    for name, generator in (("perov5", "perov5-cds"), ("carbon24", "carbon24-cds")):
        facts = json.loads(told([f"{name}-predictor", "--json"], capsys))
        model = load_checkpoint(generator).model
        atoms = [Element.from_Z(z).symbol for z in model.statistics.elements]
        assert facts["trained_on"]["elements"] == atoms
    weights = PropertyModel.load(pretrained.FOLDER / "carbon24-predictor.safetensors")
    numbers = sum(p.numel() for p in weights.network.parameters())
    assert facts["model"]["num_parameters"] == numbers


def test_a_predictor_file_of_ones_own_and_a_damaged_one(tmp_path, capsys):
    config = EvaluatorConfig(8, 1, 4, 4, 8, 3, 3, 4.0, 6)
    card = {"property": "gap", "elements": ["Na", "Cl"]}
    file = tmp_path / "mine.safetensors"
    PropertyModel(PeriodicDimeNet(config), config, 0.0, 1.0, card).save(file)
    page = told([str(file)], capsys)
    assert "property        gap\n" in page
    assert "2: Na Cl" in page
    PropertyModel(PeriodicDimeNet(config), config, 0.0, 1.0, {}).save(file)
    with pytest.raises(ValueError, match=r"mine\.safetensors is damaged"):
        summarise_predictor(file)


def test_the_table_of_measured_rates_names_no_columns_that_it_has_not(capsys):
    for name in pretrained_names():
        page = told([name], capsys)
        assert "low and high" not in page
        assert "What the names mean: docs/report.md\n" in page


def test_a_shipped_checkpoint_tells_what_can_be_asked_of_it(capsys):
    page = told(["mp20-cdi"], capsys)
    for line in (
        "data set        MP-20, split official, 23,474 of 27,136 training crystals, val.csv and",
        "                test.csv differ from the published files, 23,474 crystals",
        "formation_energy_per_atom  -4.47261  -1.20385  0.0798249  eV/atom",
        "sampler         renewing, 250 steps, uniform times (the checkpoint's card)",
        "guidance        1 (none)",
        "network calls   250 per crystal",
        "family          joint, conditioner CDI",
    ):
        assert line in page
    rows = load_checkpoint("mp20-cdi").card["metrics"]["rows"]
    words = {line.split()[0]: line.split()[1:] for line in page.splitlines() if line}
    rates = [row["sr5_all"]["value"] for row in rows.values()]
    assert words["sr5_all"] == [f"{rate:.3f}" for rate in rates]  # a column per row
    assert len(set(rates)) > 1
    hits = [
        row["distinct_hits_predicted"] for row in rows.values() if "distinct_hits_predicted" in row
    ]
    assert words["distinct_hits_predicted"] == [f"{each['value']:.0f}" for each in hits]  # counts
    assert max(map(len, page.splitlines())) <= 96
    facts = json.loads(told(["mp20-cdi", "--json"], capsys))
    assert facts["sampling"]["sampler"]["steps"] == 250
    assert facts["trained_on"]["properties"]["formation_energy_per_atom"]["unit"] == "eV/atom"
    assert len(facts["trained_on"]["elements"]) == 88
    assert facts["model"]["num_parameters"] == sum(
        p.numel() for p in load_checkpoint("mp20-cdi").model.parameters()
    )


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("structrepdiff-cds.safetensors", "generates number of atoms and composition"),
        ("structrepdiff-cds.safetensors", "sampler         ancestral, 50 steps"),
        ("csp-cdi.safetensors", "predicts structures of given compositions"),
        ("joint-cds.ckpt", "(preset fast)"),
    ],
)
def test_files_of_every_family(file, words, capsys):
    assert words in told([str(FIXTURES / file)], capsys)


def test_units_are_those_of_known_data_sets_only_and_any_card_is_read(capsys):
    loaded = load_checkpoint(FIXTURES / "joint-cds.ckpt")
    data = {**loaded.config["data"], "name": "/somewhere/own.csv"}
    own = replace(
        loaded, config={**loaded.config, "data": data}, card={"metrics": ["mine"], "licence": 7}
    )
    facts = summarise(own)
    assert {p["unit"] for p in facts["trained_on"]["properties"].values()} == {None}
    assert facts["trained_on"]["dataset"] is None
    json.dumps(facts)


def test_units_name_published_sets_and_their_columns():
    for dataset, units in module._UNITS.items():
        known = DATASETS[dataset]
        assert set(units) <= {known.property_name, *getattr(known, "columns", ())}
        assert module.unit_of(dataset, known.property_name) is not None
    assert set(module._UNITS) == set(DATASETS)
    assert module.unit_of(None, "band_gap") is None


def test_cards_are_read_without_torch():
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('alone', {pretrained.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "assert 'carbon24-cds' in module.pretrained_cards()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_refused_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["info", "carbon"])
    assert "with the package come: carbon24-cds" in (said := capsys.readouterr().err)
    assert "perov5-predictor" in said
    with pytest.raises(FileNotFoundError, match="is a property model"):
        load_checkpoint("perov5-predictor")
    with pytest.raises(FileNotFoundError, match="come: carbon24-predictor"):
        PropertyModel.load("carbon24-predicto")


def test_help_shows_the_usual_options_first(capsys):
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    text = capsys.readouterr().out
    assert text.startswith("usage: crysdiff sample --checkpoint CHECKPOINT [options]\n")
    places = [
        text.index(f"  {word}")
        for word in (
            "--checkpoint", "-n NUM", "--target", "--out", "--seed", "--num-atoms", "--formula",
            "--sampler", "--batch-size",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    groups = ("what is asked for:", "hard constraints", "sampler:", "running:")
    assert [text.index(f"\n{group}") for group in groups] == sorted(
        text.index(f"\n{group}") for group in groups
    )


def test_choices_on_the_command_line_are_those_of_the_sampler():
    from typing import get_args

    from pyg_crysdiff.cli import sample
    from pyg_crysdiff.cli.ending import Parser
    from pyg_crysdiff.diffusion.kinds import Solver, Spacing
    from pyg_crysdiff.diffusion.sampler import PRESETS

    parser = Parser()
    sample.add_arguments(parser)
    choices = {a.dest: set(a.choices) for a in parser._actions if a.choices}
    assert choices["solver"] == set(get_args(Solver))
    assert choices["spacing"] == set(get_args(Spacing))
    assert choices["sampler"] == set(PRESETS)
