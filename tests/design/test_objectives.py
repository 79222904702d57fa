"""Objectives: what texts mean, and which values meet them."""

import math

import numpy as np
import pytest

from pyg_crysdiff.design.objectives import Objective, hits, read_objectives


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["heat_ref=:0.44"], Objective("heat_ref", high=0.44)),
        (["band_gap=1:2"], Objective("band_gap", 1.0, 2.0)),
        (["k=3:"], Objective("k", low=3.0)),
        (["e=min"], Objective("e", direction=-1)),
        (["e=max"], Objective("e", direction=1)),
        (["e=min,:-3"], Objective("e", high=-3.0, direction=-1)),
        (["e=min", "e=:-3"], Objective("e", high=-3.0, direction=-1)),
        (["e=0:5", "e=2:9"], Objective("e", 2.0, 5.0)),
    ],
)
def test_texts(texts, wanted):
    (found,) = read_objectives(texts)
    assert found == wanted
    assert read_objectives([str(found)]) == (found,)


@pytest.mark.parametrize(
    "texts",
    [[], ["e"], ["e="], ["=3:4"], ["e=3"], ["e=a:b"], ["e=2:1"], ["e=nan:1"], ["e=min,max"],
     ["e=:"], ["e=0:1", "e=2:3"]],
)  # fmt: skip
def test_what_is_no_objective_is_refused(texts):
    with pytest.raises(ValueError, match=r"objective|between|wanted|both|bound"):
        read_objectives(texts)


def test_bounds_are_met_and_what_is_no_number_is_not():
    values = np.array([0.9, 1.0, 1.5, 2.0, 2.1, math.nan])
    one = Objective("gap", 1.0, 2.0)
    assert one.met(values).tolist() == [False, True, True, True, False, False]
    short = one.shortfall(values)
    assert short[:5].tolist() == pytest.approx([0.1, 0, 0, 0, 0.1])
    assert math.isnan(short[5])


def test_a_hit_meets_all():
    wanted = read_objectives(["gap=1:2", "e=:0.1", "x=min"])
    values = {
        "gap": np.array([1.5, 1.5, 0.0, 1.5]),
        "e": np.array([0.0, 0.2, 0.0, 0.0]),
        "x": np.array([5.0, 5.0, 5.0, math.nan]),
    }
    assert hits(wanted, values).tolist() == [True, False, False, False]
