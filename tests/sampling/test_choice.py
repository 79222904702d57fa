"""One checkpoint has one behaviour: its card's, unless a sampler is named, which is taken whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyg_crysdiff.cli import main
from pyg_crysdiff.data import read_crystals
from pyg_crysdiff.models import load_checkpoint
from pyg_crysdiff.sampling import Control, Sampler, sample
from pyg_crysdiff.sampling.choice import choose

FIXTURES = Path(__file__).parents[1] / "models" / "checkpoints"
JOINT, CSP = FIXTURES / "joint-cds.ckpt", FIXTURES / "csp-cdi.safetensors"
STRUCTREPDIFF = FIXTURES / "structrepdiff-cds.safetensors"
ADVICE = {"solver": "flow", "steps": 7, "guidance": 2.0, "num_atoms": 5}


@pytest.fixture(scope="module")
def plain():
    return load_checkpoint(JOINT)


@pytest.fixture(scope="module")
def advised(plain):
    return replace(plain, card={**plain.card, "sampler": ADVICE})


def test_the_card_decides_where_nothing_is_named(advised):
    found = choose(advised)
    assert found.sampler == Sampler("flow", 7, "uniform", 1, 0.0)  # what it lacks is the paper's
    assert (found.guidance, found.num_atoms) == (2.0, 5)
    assert str(found).endswith("(the checkpoint's card)")
    (crystal,) = sample(advised, 1, device="cpu", progress=False)
    assert len(crystal) == 5
    assert (crystal.info["solver"], crystal.info["steps"], crystal.info["guidance"]) == (
        "flow", 7, 2.0,
    )  # fmt: skip


def test_a_named_sampler_is_taken_whole_and_guidance_and_sizes_stay_apart(advised):
    found = choose(advised, Sampler(steps=3))
    assert found.sampler == Sampler("renewing", 3)
    assert (found.guidance, found.num_atoms) == (2.0, 5)
    found = choose(advised, "paper", guidance=1.0, num_atoms=(2, 3))
    assert found.sampler == Sampler.preset("paper")
    assert (found.guidance, found.num_atoms, found.origin) == (1.0, (2, 3), "preset paper")


def test_without_a_card_the_preset_fast_fits_the_process(plain):
    steps = plain.model.num_steps
    assert steps < 200
    found = choose(plain)
    assert found.sampler == Sampler(steps=steps)
    assert (found.guidance, found.num_atoms, found.origin) == (1.0, "distribution", "preset fast")


@pytest.mark.parametrize(
    "entry",
    [
        {"out": "/etc"}, {"steps": "many"}, {"trusted": ["os"]}, ["steps"], "flow", 7,
        {"steps": 0}, {"guidance": "much"}, {"num_atoms": [2, 3]}, {"guidance": True},
    ],
)  # fmt: skip
def test_a_wrong_card_is_a_clear_error(plain, entry):
    with pytest.raises(ValueError, match="the checkpoint's card recommends the sampler"):
        choose(replace(plain, card={"sampler": entry}))


def test_old_keywords_mean_what_they_meant(advised):
    options = {"device": "cpu", "progress": False, "seed": 2}
    with pytest.warns(DeprecationWarning, match="steps, renewal of sample") as told:
        old = sample(advised, 3, steps=4, renewal=0.5, **options)
    assert told[0].filename == __file__
    sampler = Sampler("ancestral", 4, "uniform", 1, 0.5)
    assert repr(sampler) in str(told[0].message)
    # the card had no say
    new = sample(advised, 3, sampler=sampler, guidance=1.0, num_atoms="distribution", **options)
    assert_same(old, new)
    with pytest.raises(TypeError, match="a sampler or steps, not both"):
        sample(advised, 1, sampler="fast", steps=3, **options)
    with pytest.raises(TypeError, match="unexpected keyword argument 'step'"):
        sample(advised, 1, step=3, **options)


@pytest.mark.parametrize(
    ("checkpoint", "more", "options"),
    [
        (JOINT, [], {}),
        (CSP, ["--formula", "TiO2"], {"control": Control(formulas=("TiO2",))}),
        (STRUCTREPDIFF, [], {}),
        (JOINT, ["--sampler", "paper"], {"sampler": "paper"}),
        (
            JOINT,
            ["--steps", "4", "--guidance", "1.5"],
            {"sampler": Sampler(steps=4), "guidance": 1.5},
        ),
        ("perov5-cds", [], {}),
    ],
    ids=["joint", "csp", "structrepdiff", "preset", "options", "shipped"],
)
def test_python_and_the_command_give_the_same_crystals(checkpoint, more, options, tmp_path, capsys):
    words = ["sample", "--checkpoint", str(checkpoint), "-n", "2", "--seed", "0", "--device", "cpu"]
    main([*words, *more, "--out", str(tmp_path / "shell")])
    assert capsys.readouterr().out.startswith("sampler: ")
    made = sample(checkpoint, 2, seed=0, device="cpu", progress=False, **options)
    again = sample(
        checkpoint, 2, seed=0, device="cpu", progress=False, out=tmp_path / "shell", **options
    )  # the same request: read from the parts, to the last bit
    assert_same(made, again)
    assert len(read_crystals(tmp_path / "shell" / "samples.extxyz")) == 2


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "renewing, 50 steps, uniform times (the checkpoint's card)"),
        (["--sampler", "fast"], "renewing, 200 steps, uniform times (preset fast)"),
        (["--steps", "20"], "renewing, 20 steps, uniform times (as asked for)"),
        (
            ["--solver", "ancestral"],
            "ancestral, all steps, uniform times, 1 corrector move each (as asked for)",
        ),
    ],
)
def test_the_command_says_which_sampler_it_uses(words, wanted, monkeypatch, capsys, tmp_path):
    seen = {}

    def fake(model, count, **options):
        seen.update(options)
        return []

    monkeypatch.setattr("pyg_crysdiff.sampling.sample", fake)
    main(["sample", "--checkpoint", "perov5-cds", *words, "--out", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[0] == f"sampler: {wanted}"
    assert seen["guidance"] is None
    assert seen["num_atoms"] is None


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.atomic_numbers, b.atomic_numbers)
        np.testing.assert_array_equal(a.lattice, b.lattice)
        np.testing.assert_array_equal(a.frac_coords, b.frac_coords)
