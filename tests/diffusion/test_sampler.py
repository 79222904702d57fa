"""The sampler as an object: presets, what is named of it, and what it refuses."""

import dataclasses

import pytest

from pyg_crysdiff.diffusion import Sampler

PAPER = Sampler("ancestral", None, "uniform", 1, 0.0)
FAST = Sampler("renewing", 200, "uniform", 0, 0.0)


def test_presets():
    assert Sampler.preset("paper") == PAPER
    assert Sampler.preset("fast") == Sampler() == FAST
    with pytest.raises(ValueError, match="there is no sampler 'slow'; presets: paper, fast"):
        Sampler.preset("slow")
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAPER.steps = 3


@pytest.mark.parametrize(
    ("base", "named", "wanted"),
    [
        (None, {}, FAST),
        (None, {"steps": 50}, dataclasses.replace(FAST, steps=50)),
        (None, {"solver": "ancestral"}, PAPER),
        (None, {"solver": "ancestral", "corrector_steps": 0}, Sampler("ancestral", None)),
        (None, {"solver": "flow", "steps": None}, dataclasses.replace(FAST, solver="flow")),
        ("fast", {"solver": "ancestral"}, Sampler("ancestral", 200)),
        ("paper", {"renewal": 0.7}, dataclasses.replace(PAPER, renewal=0.7)),
    ],
)
def test_what_is_not_named_comes_from_a_preset(base, named, wanted):
    assert Sampler.of(base, **named) == wanted


def test_a_family_may_have_presets_of_its_own():
    own = {"paper": Sampler("ancestral", None), "fast": Sampler("ancestral", 10)}
    assert Sampler.of(None, own, steps=5) == Sampler("ancestral", 5)
    assert Sampler.from_dict({"steps": 7}, own["paper"]) == Sampler("ancestral", 7)


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0}, {"corrector_steps": -1}, {"corrector_steps": 10**9}, {"renewal": 1.5},
        {"renewal": float("nan")}, {"solver": "euler"}, {"spacing": "log"}, {"temperature": 0.0},
        {"temperature": float("nan")}, {"solver": "flow", "temperature": 2},
        {"temperature": 0.5, "renewal": 0.5},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Sampler(**values)


def test_plain_data_and_back():
    sampler = Sampler("flow", 20, "edm", 2, 0.5)
    assert Sampler.from_dict(sampler.to_dict()) == sampler
    assert Sampler.from_dict({}) == PAPER
    for bad in ({"steps": "many"}, {"steps": True}, {"out": "x"}, {"steps": 3.5}):
        with pytest.raises(ValueError, match="is no sampler"):
            Sampler.from_dict(bad)


def test_steps_times_and_calls():
    assert FAST.within(50).steps == 50
    assert FAST.within(1000) is FAST
    assert PAPER.within(50) is PAPER
    assert FAST.times(1000)[:2] == [1000, 995]
    assert (PAPER.calls(1000), FAST.calls(1000)) == (2000, 200)
    with pytest.raises(ValueError, match=r"steps must lie in 1\.\.50"):
        FAST.times(50)


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        (PAPER, "ancestral, all steps, uniform times, 1 corrector move each"),
        (Sampler("renewing", 200, "focused"), "renewing, 200 steps, focused times"),
        (
            Sampler("ancestral", 250, "uniform", 3, 0.7),
            "ancestral, 250 steps, uniform times, 3 corrector moves each, renewal 0.7",
        ),
    ],
)
def test_in_words(sampler, words):
    assert str(sampler) == words
